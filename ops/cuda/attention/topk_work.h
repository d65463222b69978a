// The work of the kernels of the top k blocks and the memory that they take. Plain C++: a meta
// device asks it in builds without CUDA too.
#pragma once
#include <algorithm>
#include <vector>

#include "ops/attention/choice_args.h"

namespace elastron::ops::cuda {

// Blocks of threads that choose, at most: each has scores of its own.
inline constexpr int64_t kMostTopkChoosers = 1024;

// A sequence, as every kv head sees it.
struct TopkSequence {
  int32_t first_query, first_key;  // rows of its first token and key in the batch
  int32_t tokens, keys, offset;    // of which the tokens are the last
  int32_t query_blocks, key_blocks;
  int32_t blocks_before;  // of both kinds, of the sequences before
  int32_t rows_before;    // query blocks of the sequences before
  int32_t words;          // where its bits stand
};

struct TopkWork {
  std::vector<TopkSequence> sequences;
  int64_t blocks = 0;  // of queries and of keys, of all sequences
  int64_t rows = 0;    // of queries alone
  int64_t pitch = 1;   // key blocks of the longest sequence
  int64_t choosers = 0;
};

inline TopkWork topk_work(const BlockChoiceArgs& args) {
  TopkWork work;
  for (int64_t s = 0; s < args.varlen.sequences(); ++s) {
    const auto blocks_of = [&](int64_t tokens) {
      return BlockChoiceView::blocks_of(tokens, args.block);
    };
    const int64_t own = blocks_of(args.varlen.length(s));
    const int64_t seen = own == 0 ? 0 : blocks_of(args.varlen.key_length(s));
    work.sequences.push_back({.first_query = int32_t(args.varlen.begin(s)),
                              .first_key = int32_t(args.varlen.key_begin(s)),
                              .tokens = int32_t(args.varlen.length(s)),
                              .keys = int32_t(args.varlen.key_length(s)),
                              .offset = int32_t(args.varlen.offset(s)),
                              .query_blocks = int32_t(own),
                              .key_blocks = int32_t(seen),
                              .blocks_before = int32_t(work.blocks),
                              .rows_before = int32_t(work.rows),
                              .words = args.starts[size_t(s)]});
    work.blocks += own + seen;
    work.rows += own;
    work.pitch = std::max(work.pitch, seen);
  }
  work.choosers = std::min(work.rows * args.shape.kv_heads, kMostTopkChoosers);
  return work;
}

}  // namespace elastron::ops::cuda
