// Attention of one new token over cached keys and values (docs/method.md, Decoding): inference
// only.
#pragma once
#include "core/tensor.h"
#include "ops/kv_cache.h"

namespace elastron::ops {

// q [q_heads, head_dim] -> [q_heads, head_dim]; query head h reads the kv head h / (q_heads /
// kv_heads). It is the query of the token at `position` [1] int32, the newest in the cache. One
// dtype; sums in its accumulator.
Tensor decode_attention(const Tensor& q, const CachedLayer& layer, const Tensor& position,
                        double softmax_scale);

}  // namespace elastron::ops
