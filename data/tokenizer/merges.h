// Byte-pair merges: which two neighbouring tokens become one, and in which order.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace elastron::data {

struct Merge {
  int32_t left = 0, right = 0, result = 0;
};

class Merges {
 public:
  // `merges` by rank, lowest first; of two for the same pair the later one counts, as in the
  // reference.
  explicit Merges(const std::vector<Merge>& merges);

  // Appends what becomes of `word`, the tokens of its bytes or characters: of all neighbouring pairs that have a merge, the one of lowest
  // rank is merged (the leftmost of equals), until none is left. Time n log n in the length of the
  // word. Thread-safe. Throws InputError for a word of 2^31 tokens.
  void apply(std::span<const int32_t> word, std::vector<int32_t>& ids) const;

 private:
  static constexpr uint32_t kNone = UINT32_MAX;  // the rank of a pair that does not merge
  struct Slot {
    int32_t left = -1, right = -1;
    uint32_t rank = kNone;
    int32_t result = -1;
  };
  size_t slot_of(int32_t left, int32_t right) const;
  const Slot& find(int32_t left, int32_t right) const;
  void apply_short(std::span<const int32_t> word, std::vector<int32_t>& ids) const;
  void apply_long(std::span<const int32_t> word, std::vector<int32_t>& ids) const;

  std::vector<Slot> slots_;  // open addressing; a power of two, at least half of it free
};

}  // namespace elastron::data
