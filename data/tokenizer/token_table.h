// The bytes of all tokens, and the tokens of bytes.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace elastron::data {

// Byte strings by id, in one block.
class TokenBytes {
 public:
  void append(std::string_view bytes) {
    block_ += bytes;
    ends_.push_back(uint32_t(block_.size()));
  }
  int32_t size() const { return int32_t(ends_.size()); }
  std::string_view operator[](int32_t id) const {
    const uint32_t begin = id == 0 ? 0 : ends_[size_t(id) - 1];
    return std::string_view(block_).substr(begin, ends_[size_t(id)] - begin);
  }

 private:
  std::string block_;  // below 4 GiB: tokenizer.json has at most 64 MiB
  std::vector<uint32_t> ends_;
};

// Finds ids by bytes: open addressing, one comparison of bytes per look-up in all likelihood.
class TokenIndex {
 public:
  static constexpr int32_t kNone = -1;
  // Room for `most` tokens of `bytes`, which must outlive the index.
  TokenIndex(const TokenBytes& bytes, size_t most);
  // No two with the same bytes.
  void insert(int32_t id);
  int32_t find(std::string_view bytes) const;

 private:
  struct Slot {
    uint32_t hash = 0;
    int32_t id = kNone;
  };
  const TokenBytes& bytes_;
  std::vector<Slot> slots_;  // a power of two, at least half of it free
};

}  // namespace elastron::data
