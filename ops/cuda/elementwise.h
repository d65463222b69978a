// CUDA back ends of ops/elementwise.h, ops/swiglu.h and ops/adamw.h: device pointers, everything
// checked by the caller; issued on `stream`. T: double, float or bf16; A: double or float.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/cuda/stream.h"
#include "core/dtype.h"
#include "ops/adamw.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

template <class T>
void add(const T* a, const T* b, T* sum, int64_t n, Stream stream);  // sum may be a or b
template <class T>
void scale_into(T* a, double factor, int64_t n, Stream stream);
template <class T>
void clamp_into(T* a, double low, double high, int64_t n, Stream stream);
template <class From, class To>
void cast(const From* x, To* y, int64_t n, Stream stream);
template <class T>
void sum_parts(const T* parts, T* sum, int64_t n, int64_t m, Stream stream);  // [n, m] -> [m]
template <class T>
void add_to_rows(const T* row, T* y, int64_t n, int64_t m, Stream stream);  // y [n, m] += row [m]
template <class T>
void silu_forward(const T* x, T* y, int64_t n, Stream stream);
template <class T>
void silu_backward(const T* dy, const T* x, T* dx, int64_t n, Stream stream);
template <class T>
void swiglu_forward(const T* gate, const T* up, T* h, int64_t n, Stream stream);
template <class T>
void swiglu_backward(const T* dh, const T* gate, const T* up, T* d_gate, T* d_up, int64_t n,
                     Stream stream);  // d_gate may be gate, d_up may be up

// V: dtype of the copy that receives the rounded master; `value` may be null.
template <class A, class V>
void adamw_step(A* master, const A* grad, A* m, A* v, V* value, int64_t n, const AdamWSettings& s,
                int64_t step, double grad_scale, Stream stream);

}  // namespace elastron::ops::cuda
