// Which blocks of keys each block of queries reads (ops/block_choice.h): bits, where the kernels
// read them, in memory of the device that computes.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/host_device.h"
#include "ops/varlen.h"

namespace elastron::ops {

inline constexpr int kChoiceBits = 32;  // of a word

// The bits of one row (or column) of one mask: bit J of row I says that query block I reads key
// block J, bit I of column J says the same. Key blocks are counted from a sequence's first key,
// query blocks from its first token.
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

// The masks of a packed batch. In each a sequence of n tokens has ceil(n / block) rows with a bit
// for each block of its keys, in whole words; and a column for each of these, with a bit for each
// row. Query heads [m shared_by, (m + 1) shared_by) read mask m.
struct BlockChoiceView {
  const uint32_t* rows = nullptr;     // [masks, mask_words]
  const uint32_t* columns = nullptr;  // the same, transposed within each sequence
  const int32_t* starts = nullptr;    // [sequences] first word of a sequence, in either
  int64_t mask_words = 0;
  int32_t block = 0;  // tokens; 0: there is no choice
  int32_t shared_by = 1;
  int32_t first_tokens = 0;  // of a sequence, that every query reads

  ELASTRON_HD static constexpr int64_t blocks_of(int64_t length, int64_t block_tokens) {
    return (length + block_tokens - 1) / block_tokens;
  }
  ELASTRON_HD static constexpr int64_t words_of(int64_t length, int64_t block_tokens) {
    return (blocks_of(length, block_tokens) + kChoiceBits - 1) / kChoiceBits;
  }
  // Row of query block `index` of a sequence of `keys`, column of key block `index` of `tokens`.
  ELASTRON_HD BlockBits row(int64_t head, int64_t sequence, int64_t keys, int64_t index) const {
    return {rows + at(head, sequence, keys, index)};
  }
  ELASTRON_HD BlockBits column(int64_t head, int64_t sequence, int64_t tokens,
                               int64_t index) const {
    return {columns + at(head, sequence, tokens, index)};
  }

  ELASTRON_HD int64_t at(int64_t head, int64_t sequence, int64_t bits, int64_t index) const {
    return head / shared_by * mask_words + starts[sequence] + index * words_of(bits, block);
  }
};

// [sequences + 1]: the last is mask_words.
inline std::vector<int32_t> block_choice_starts(const Varlen& varlen, int64_t block) {
  std::vector<int32_t> starts = {0};
  const auto words = [&](int64_t lines, int64_t bits) {
    return BlockChoiceView::blocks_of(lines, block) * BlockChoiceView::words_of(bits, block);
  };
  for (int64_t s = 0; s < varlen.sequences(); ++s) {
    const int64_t tokens = varlen.length(s), keys = varlen.key_length(s);
    starts.push_back(starts.back() + int32_t(std::max(words(tokens, keys), words(keys, tokens))));
  }
  return starts;
}

}  // namespace elastron::ops
