// CUDA back end of ops/decode_attention.h.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

inline constexpr int64_t kMostDecodeHeadDim = 256;

// A kv head's cache as a kernel reads it.
struct DecodeHead {
  const void *k, *v;    // [rows, head_dim]
  int64_t range[3][2];  // visible rows
};

// heads [kv_heads] on the device; q, out [q_heads, head_dim].
template <class T>
void decode_attention(const T* q, const DecodeHead* heads, int64_t q_heads, int64_t group,
                      int64_t head_dim, double scale, T* out, Stream stream);

}  // namespace elastron::ops::cuda
