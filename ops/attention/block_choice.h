// Which blocks of keys each block of queries reads, chosen by XAttention per query head (spec 5).
// Bits, where the kernels read them: in memory of the device that computes.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/host_device.h"

namespace elastron::ops {

inline constexpr int kChoiceBits = 32;  // of a word

// The bits of one row (or column) of one head: bit J of row I says that query block I reads key
// block J <= I, bit I of column J says the same.
struct BlockBits {
  const uint32_t* words = nullptr;

  ELASTRON_HD bool has(int64_t block) const {
    return words[block / kChoiceBits] >> (block % kChoiceBits) & 1u;
  }
  // The first block from `block` on, and before `end`, whose bit is `set`; `end` if there is none.
  ELASTRON_HD int64_t next(int64_t block, int64_t end, bool set) const {
    while (block < end) {
      const uint32_t word = words[block / kChoiceBits] ^ (set ? 0u : ~0u);
      const uint32_t left = word >> (block % kChoiceBits);
      if (left != 0) {
        const int64_t found = block + lowest_bit(left);
        return found < end ? found : end;
      }
      block = (block / kChoiceBits + 1) * kChoiceBits;
    }
    return end;
  }
  // Bits set before `block`.
  ELASTRON_HD int64_t count_before(int64_t block) const {
    int64_t n = 0;
    for (int64_t w = 0; w < block / kChoiceBits; ++w) n += bits_of(words[w]);
    const uint32_t left = block % kChoiceBits == 0
                              ? 0u
                              : words[block / kChoiceBits] & ((1u << (block % kChoiceBits)) - 1u);
    return n + bits_of(left);
  }

 private:
  ELASTRON_HD static int lowest_bit(uint32_t word) {
#if defined(__CUDA_ARCH__)
    return __ffs(int(word)) - 1;
#else
    return __builtin_ctz(word);
#endif
  }
  ELASTRON_HD static int bits_of(uint32_t word) {
#if defined(__CUDA_ARCH__)
    return __popc(word);
#else
    return __builtin_popcount(word);
#endif
  }
};

// All of a packed batch. A sequence of n keys has ceil(n / block) rows of
// ceil(rows / kChoiceBits) words per head; its columns stand the same way. Blocks are counted from
// its first key: rows of blocks before its first token hold zeros.
struct BlockChoiceView {
  const uint32_t* rows = nullptr;     // [q_heads, head_words]
  const uint32_t* columns = nullptr;  // the same, transposed within each sequence
  const int32_t* starts = nullptr;    // [sequences] first word of a sequence
  int64_t head_words = 0;
  int32_t block = 0;  // tokens; 0: there is no choice

  ELASTRON_HD static constexpr int64_t blocks_of(int64_t length, int64_t block_tokens) {
    return (length + block_tokens - 1) / block_tokens;
  }
  ELASTRON_HD static constexpr int64_t words_of(int64_t length, int64_t block_tokens) {
    return (blocks_of(length, block_tokens) + kChoiceBits - 1) / kChoiceBits;
  }
  // Row of query block `index` (column of key block `index`) of a sequence of `length` keys.
  ELASTRON_HD BlockBits row(int64_t head, int64_t sequence, int64_t length, int64_t index) const {
    return {rows + at(head, sequence, length, index)};
  }
  ELASTRON_HD BlockBits column(int64_t head, int64_t sequence, int64_t length,
                               int64_t index) const {
    return {columns + at(head, sequence, length, index)};
  }

  ELASTRON_HD int64_t at(int64_t head, int64_t sequence, int64_t length, int64_t index) const {
    return head * head_words + starts[sequence] + index * words_of(length, block);
  }
};

// Of sequences whose keys these are the bounds of. [sequences + 1]: the last is head_words.
inline std::vector<int32_t> block_choice_starts(std::span<const int32_t> cu_keys, int64_t block) {
  std::vector<int32_t> starts = {0};
  for (size_t s = 0; s + 1 < cu_keys.size(); ++s) {
    const int64_t length = cu_keys[s + 1] - cu_keys[s];
    starts.push_back(starts.back() + int32_t(BlockChoiceView::blocks_of(length, block) *
                                             BlockChoiceView::words_of(length, block)));
  }
  return starts;
}

}  // namespace elastron::ops
