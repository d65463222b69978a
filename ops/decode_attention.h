// Attention of one new token over cached keys and values (docs/method.md, Decoding): inference
// only.
#pragma once
#include <array>
#include <span>

#include "core/tensor.h"

namespace elastron::ops {

// The cache of one kv head. Rows in up to three ranges hold the visible keys, in any order:
// softmax does not care.
struct CachedHead {
  Tensor k, v;  // [rows, head_dim] contiguous, keys after RoPE
  struct Range {
    int64_t begin = 0, end = 0;
  };
  std::array<Range, 3> visible{};

  int64_t keys() const {
    int64_t n = 0;
    for (const Range& r : visible) n += r.end - r.begin;
    return n;
  }
};

// q [q_heads, head_dim] -> [q_heads, head_dim]; query head h reads heads[h / (q_heads / kv_heads)],
// each with at least one visible key. One dtype; sums in its accumulator.
Tensor decode_attention(const Tensor& q, std::span<const CachedHead> heads, double softmax_scale);

}  // namespace elastron::ops
