// Pooling of key states over a segment of each sequence: what the Attention Router reads
// (docs/method.md, Pooling). Sums are in master dtype.
//
//   boundary: pre = the first W tokens of [begin, end), suf = the last W;
//             pooled = (sum pre + sum suf) / (|pre| + |suf|). Overlaps count twice, unless `dedup`,
//             which takes the plain mean over the union.
//   mean:     the plain mean over the segment.
#pragma once
#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace elastron::ops {

// Half-open token range in the packed batch (global token indices). Empty: zeros are pooled.
struct PoolSegment {
  int64_t begin = 0, end = 0;
};

struct PoolRule {
  bool boundary = true;  // false: mean
  int64_t budget = 100;  // W, tokens from each end
  bool dedup = false;
};

// k [tokens, kv_heads, head_dim] (dims 1 and 2 contiguous) -> [segments, kv_heads, head_dim],
// master dtype. The cost of `boundary` does not depend on the segment's length.
Tensor boundary_pool_forward(const Tensor& k, const std::vector<PoolSegment>& segments,
                             const PoolRule& rule);

// dk [tokens, kv_heads, head_dim] += multiplicity / count * d_pooled.
void boundary_pool_backward(const Tensor& d_pooled, const std::vector<PoolSegment>& segments,
                            const PoolRule& rule, Tensor& dk);

}  // namespace elastron::ops
