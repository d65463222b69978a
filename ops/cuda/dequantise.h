// CUDA back ends of ops/dequantise.h and of the quantised table of ops/embedding.h: device pointers,
// everything checked by the caller; issued on `stream`. T: double, float or bf16.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"
#include "core/float8.h"
#include "ops/detail/scale_view.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

template <class T>
void dequantise(const e4m3* values, const detail::StackView& at, int64_t count,
                const detail::ScaleView& scale, int64_t rows, int64_t columns, T* to,
                Stream stream);  // [count, rows, columns]; `scale` is the first matrix's
template <class T>
void embedding_forward(const int32_t* ids, const e4m3* table, const detail::ScaleView& scale, T* y,
                       int64_t tokens, int64_t rows, int64_t hidden, int64_t first_row,
                       Stream stream);

}  // namespace elastron::ops::cuda
