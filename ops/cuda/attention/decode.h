// CUDA back end of ops/decode_attention.h and ops/kv_cache.h.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"
#include "ops/attention/cache_rows.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

inline constexpr int64_t kMostDecodeHeadDim = 256;

// A kv head's cache as a kernel reads it.
struct DecodeHead {
  const void *k, *v;  // [rows, head_dim]
  CacheRows rows;
};

// heads [kv_heads] and position [1] on the device; q, out [q_heads, head_dim].
template <class T>
void decode_attention(const T* q, const DecodeHead* heads, const int32_t* position, int64_t q_heads,
                      int64_t group, int64_t head_dim, double scale, T* out, Stream stream);

// k, v [tokens, kv_heads] rows of row_bytes, the first of position first[0], to their rows.
void append_to_cache(const void* k, const void* v, const int32_t* first, const DecodeHead* heads,
                     int64_t tokens, int64_t kv_heads, int64_t row_bytes, Stream stream);

}  // namespace elastron::ops::cuda
