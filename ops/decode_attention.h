// Attention of one new token of each sequence over its cached keys and values (docs/method.md,
// Decoding): inference only.
#pragma once
#include "core/tensor.h"
#include "ops/kv_cache.h"

namespace elastron::ops {

// q [sequences, q_heads, head_dim] -> the same shape; query head h reads the kv head h / (q_heads /
// kv_heads). Each is the query of the token at its sequence's place in `positions` [sequences]
// int32, the newest in the cache. One dtype; sums in its accumulator.
// What a sequence gets does not depend on those beside it, bit for bit.
Tensor decode_attention(const Tensor& q, const CachedLayer& layer, const Tensor& positions,
                        double softmax_scale);

}  // namespace elastron::ops
