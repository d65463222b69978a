// XAttention's choice of key blocks (docs/method.md, XAttention): which blocks of keys each block
// of queries of a query head reads, estimated from sums over antidiagonals of every stride x stride
// square of scores.
//
//   A[a, b] = sum over j < stride of q[a stride + stride - 1 - j] . k[b stride + j],  b <= a
//   P[a, :] = softmax over b <= a of A[a, b] softmax_scale / stride
//   Mass[I, J] = sum over groups a in query block I, b in key block J of P[a, b]
//
// A sequence that ends within a group goes on with zeros. Sums, maxima and exponentials are in the
// accumulator type; masses are then rounded to whole units of 2^-32, so that the choice among them
// does not depend on the order in which they are added up, and is the same on every device unless
// two masses, or a sum and the threshold, agree to their last digits.
//
// The first block and the query's own are always chosen. Then (select exact) blocks of the largest
// mass, the lower one of equals, until the chosen ones hold `threshold` of the row's mass. No
// gradient goes through the choice (docs/method.md, XAttention).
#pragma once
#include <cstdint>

#include "ops/attention/streaming_rule.h"

namespace elastron::ops {

struct XAttentionRule {
  int64_t stride = 16;  // tokens of a group
  int64_t block = 128;  // tokens of a block, a multiple of stride and of 64
  double threshold = 0.9;
  // As the published code chooses: in the first chunk of a sequence one more block, and the first
  // block by its mass only until all else is done (docs/method.md, First chunk).
  bool reference = false;

  // Throws LogicError unless the numbers are as said above.
  void check() const;
  // Masks are per query head.
  int64_t shared_by(int64_t /*group*/) const { return 1; }
  // Tokens at the beginning of a sequence that every query reads.
  int64_t first_tokens() const { return block; }
  // How many pairs are chosen depends on the input.
  double pairs(int64_t first, int64_t past, double expected) const {
    return expected * double(causal_pairs(past) - causal_pairs(first));
  }
  // Products of a query with a key that the choice takes, for each causal pair of attention.
  double scores_per_pair(int64_t /*group*/) const { return 1.0 / double(stride); }
};

}  // namespace elastron::ops
