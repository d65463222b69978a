// CUDA back end of ops/attention_argmax.h: device pointers, everything checked by the caller.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"
#include "ops/attention_argmax.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

template <class T>
void attention_argmax(const T* q, const T* k, const QueryRow* rows, int64_t count, int64_t q_heads,
                      int64_t kv_heads, int64_t head_dim, int32_t* out, Stream stream);

}  // namespace elastron::ops::cuda
