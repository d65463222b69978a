// CUDA back end of ops/decode_attention.h and ops/kv_cache.h.
#pragma once
#include <cstdint>

#include "core/ceil_div.h"
#include "core/cuda/stream.h"
#include "ops/kv_cache.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

inline constexpr int64_t kMostDecodeHeadDim = 256;
// Keys that one block goes over: more are shared out to several, whose results are joined. It says
// how sums are ordered, so that it depends on nothing beside the sequence.
inline constexpr int64_t kKeysOfABlock = 512;

struct DecodeShape {
  int64_t sequences, kv_heads;
  int64_t group;  // query heads of a kv head
  int64_t head_dim, page_rows;
  int64_t most_rows;  // that any head has room for

  int64_t parts() const { return ceil_div(most_rows, kKeysOfABlock); }
};
// Numbers of scratch memory, in the accumulator's dtype: of each part its sums, largest score and
// total.
inline int64_t decode_scratch(const DecodeShape& s) {
  return s.parts() == 1 ? 0 : s.sequences * s.kv_heads * s.group * s.parts() * (s.head_dim + 2);
}
inline int64_t decode_launches(const DecodeShape& s) { return s.parts() == 1 ? 1 : 2; }

// heads [sequences * kv_heads] and positions [sequences] on the device; q, out [sequences, q_heads,
// head_dim].
template <class T>
void decode_attention(const T* q, const CachedHead* heads, const int32_t* positions,
                      const DecodeShape& shape, double scale, accumulator_t<T>* scratch, T* out,
                      Stream stream);

// k, v [sequences * tokens, kv_heads] rows of row_bytes, of each sequence's positions from first[i]
// on, to their rows.
void append_to_cache(const void* k, const void* v, const int32_t* first, const CachedHead* heads,
                     int64_t page_rows, int64_t sequences, int64_t tokens, int64_t kv_heads,
                     int64_t row_bytes, Stream stream);

}  // namespace elastron::ops::cuda
