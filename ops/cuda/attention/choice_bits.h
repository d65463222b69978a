// How the choosers of blocks leave their bits (ops/attention/block_bits.h). Device code.
#pragma once
#include "ops/attention/block_bits.h"
#include "ops/cuda/primitives.h"

namespace elastron::ops::cuda {

static_assert(kChoiceBits == kWarp);

// One mask of one sequence.
struct MaskPlace {
  uint32_t *rows, *columns;
  int64_t row_words, column_words;

  // words: of a mask; at: of the sequence in it; `length` keys, the last of which are queries from
  // `offset` on.
  __device__ MaskPlace(uint32_t* row_bits, uint32_t* column_bits, int64_t mask, int64_t words,
                       int64_t at, int64_t length, int64_t offset, int64_t block)
      : rows(row_bits + mask * words + at),
        columns(column_bits + mask * words + at),
        row_words(BlockChoiceView::words_of(length, block)),
        column_words(BlockChoiceView::words_of(length - offset, block)) {}
};

// Ranks among equals, in the order of their blocks: a warp asks for 32 blocks at a time.
struct EqualRank {
  int64_t before = 0;

  __device__ __forceinline__ int64_t of(bool equal) {
    const int lane = int(threadIdx.x) % kWarp;
    const unsigned all = __ballot_sync(kAllLanes, equal);
    const int64_t rank = before + __popc(all & ((1u << lane) - 1u));
    before += __popc(all);
    return rank;
  }
};

// The bits of query block `row`, which sees key blocks up to `own`, by one warp: chosen(j) is asked
// by all lanes together, of 32 blocks at a time in their order, also beyond `own`. Rows are this
// warp's own; a column is shared with those who have other rows.
template <class Chosen>
__device__ __forceinline__ void write_row_bits(const MaskPlace& place, int32_t row, int32_t own,
                                               Chosen&& chosen) {
  const int lane = int(threadIdx.x) % kWarp;
  for (int32_t first = 0; first <= own; first += kChoiceBits) {
    const int32_t j = first + lane;
    const bool here = chosen(j);
    const unsigned bits = __ballot_sync(kAllLanes, here);
    if (lane == 0) place.rows[row * place.row_words + first / kChoiceBits] = bits;
    if (here) {
      atomicOr(&place.columns[j * place.column_words + row / kChoiceBits],
               1u << (row % kChoiceBits));
    }
  }
}

}  // namespace elastron::ops::cuda
