// CUDA back end of ops/rms_norm.h: device pointers, everything checked by the caller.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"
#include "core/dtype.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

template <class T>
void rms_norm_forward(const T* x, const T* w, T* y, accumulator_t<T>* inv_rms, int64_t rows,
                      int64_t n, double eps, Stream stream);
// dx = or, with `accumulate`, += the gradient.
template <class T>
void rms_norm_backward(const T* dy, const T* x, const T* w, const accumulator_t<T>* inv_rms, T* dx,
                       bool accumulate, int64_t rows, int64_t n, Stream stream);

}  // namespace elastron::ops::cuda
