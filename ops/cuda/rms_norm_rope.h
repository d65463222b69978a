// CUDA back end of ops/rms_norm_rope.h: device pointers, everything checked by the caller.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"
#include "core/dtype.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

template <class T>
struct HeadRows {
  const T* x;  // [tokens, heads, head_dim]
  const T* w;  // [head_dim]
  const int32_t* positions;
  const accumulator_t<T>* table;
  int64_t tokens, heads, head_dim;
};

template <class T>
void rms_norm_rope_forward(const HeadRows<T>& rows, T* y, accumulator_t<T>* inv_rms, double eps,
                           Stream stream);
template <class T>
void rms_norm_rope_backward(const HeadRows<T>& rows, const T* dy, const accumulator_t<T>* inv_rms,
                            T* dx, Stream stream);

}  // namespace elastron::ops::cuda
