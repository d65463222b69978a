// The work list of XAttention's kernels and the memory that each block of threads has beside it.
// Plain C++: a meta device asks it in builds without CUDA too.
#pragma once
#include <algorithm>
#include <functional>
#include <vector>

#include "ops/attention/choice_args.h"

namespace elastron::ops::cuda {

// Query groups [first, ...) of a sequence, for all heads. first_token and first_key are where
// position 0 of its `length` keys stands, or would stand, in the batch.
struct RowTile {
  int32_t sequence, first_token, first_key, length;
  int32_t offset;  // of its first token
  int32_t first;
  int32_t words;  // where the bits of the sequence stand
};

// Of one query group and one key block: the largest score (log2) and the sum of 2^(score - most).
struct alignas(8) BlockSum {
  float most, total;
};

// Query groups of a tile, and threads of a block.
struct ChoiceKernel {
  int64_t tile;
  int threads;
};
inline constexpr ChoiceKernel kPlainChoiceKernel{64, 256}, kMmaChoiceKernel{128, 256};

struct ChoiceWork {
  std::vector<RowTile> tiles;  // in place of one more the number of the next one
  int64_t count = 0;           // of all query heads
  int64_t rows = 0;            // query groups that are worked on together
  int64_t pitch = 0;           // key blocks of the longest sequence
  int64_t scratch_bytes = 0;   // of a block of threads
};

inline int64_t choice_scratch_bytes(int64_t rows, int64_t pitch, int64_t warps) {
  return int64_t(sizeof(BlockSum)) * (rows * pitch + rows) +
         int64_t(sizeof(int64_t)) * warps * pitch;
}

inline ChoiceWork choice_work(const XAttentionArgs& args, const ChoiceKernel& kernel) {
  constexpr int kWarpThreads = 32;
  ChoiceWork work;
  work.rows = detail::groups_at_once(args.groups_of_block(), kernel.tile);
  int64_t longest = 0;
  for (int64_t s = 0; s < args.varlen.sequences(); ++s) {
    longest = std::max(longest, args.varlen.key_length(s));
    for (int64_t a = args.first_group(s); a < args.past_group(s); a += work.rows) {
      work.tiles.push_back({.sequence = int32_t(s),
                            .first_token = int32_t(args.varlen.begin(s) - args.varlen.offset(s)),
                            .first_key = int32_t(args.varlen.key_begin(s)),
                            .length = int32_t(args.varlen.key_length(s)),
                            .offset = int32_t(args.varlen.offset(s)),
                            .first = int32_t(a),
                            .words = args.starts[size_t(s)]});
    }
  }
  work.count = int64_t(work.tiles.size()) * args.shape.q_heads;
  // The last rows of a sequence see most. Heads of one kv head stand side by side.
  std::ranges::stable_sort(work.tiles, std::ranges::greater(), &RowTile::first);
  work.tiles.push_back({});
  work.pitch = BlockChoiceView::blocks_of(longest, args.rule.block);
  work.scratch_bytes = choice_scratch_bytes(work.rows, work.pitch, kernel.threads / kWarpThreads);
  return work;
}

}  // namespace elastron::ops::cuda
