// The rule of the top k blocks: which key blocks each block of queries of a kv head reads, by means
// of queries and keys. It is the coarse rule of MoBA (arXiv 2502.13189, section 2.2) and of
// InfLLM-V2 (docs/method.md, Top-k blocks).
//
//   u[I] = mean over the queries of block I and the query heads that read the kv head
//   w[J] = mean over the keys of block J
//   score[I, J] = u[I] . w[J],  J <= I
//
// Query block I reads the first `sink_blocks` key blocks, its own, and of those between the blocks
// of the highest scores, the lower one of equals, until it reads `blocks` of them or all. A block
// that the sequence ends in has the mean of the tokens that it has. Sums go over tokens, heads and
// channels in their order, in the accumulator type, so that the choice is the same on every device,
// for any number of threads and for a part of a sequence.
//
// A query's block is chosen for all of it: the mean takes in queries behind it, as XAttention's
// sums do. No key behind a query is read.
#pragma once
#include <algorithm>
#include <cstdint>

#include "ops/attention/streaming_rule.h"

namespace elastron::ops {

struct TopkRule {
  int64_t block = 128;      // tokens of a block, a multiple of 64
  int64_t blocks = 16;      // read by a query block, its own and the sink among them
  int64_t sink_blocks = 1;  // less than `blocks`

  // Throws LogicError unless the numbers are as said above.
  void check() const;
  // One mask for the query heads that read a kv head.
  int64_t shared_by(int64_t group) const { return group; }
  // Tokens at the beginning of a sequence that every query reads.
  int64_t first_tokens() const {
    constexpr int64_t kMost = int64_t{1} << 30;  // more than any sequence has
    return sink_blocks >= kMost / block ? kMost : sink_blocks * block;
  }
  // Causal pairs of the queries [first, past) that are read, where a block begins with `first`: the
  // same for every input.
  double pairs(int64_t first, int64_t past, double /*expected*/) const {
    double sum = 0;
    for (int64_t begin = first; begin < past; begin += block) {
      const int64_t rows = std::min(block, past - begin);
      const int64_t before = std::min(begin / block, blocks - 1) * block;
      sum += double(rows) * double(before) + double(causal_pairs(rows));
    }
    return sum;
  }
  // Products of means that the choice takes, for each causal pair of attention.
  double scores_per_pair(int64_t group) const {
    return 1.0 / (double(block) * double(block) * double(group));
  }
};

}  // namespace elastron::ops
