// CPU back end of ops/swiglu.h: plain pointers, everything checked by the caller.
#pragma once
#include "core/dtype.h"
#include "ops/cpu/parallel_for.h"
#include "ops/detail/swiglu_math.h"

namespace elastron::ops::cpu {

template <class T>
void swiglu_range(const T* gate, const T* up, T* h, int64_t n) {
  using A = accumulator_t<T>;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) detail::put(h[i], detail::swiglu(A(gate[i]), A(up[i])));
}

// The outputs may be the inputs: every element is read before it is written.
template <class T>
void swiglu_backward_range(const T* dh, const T* gate, const T* up, T* d_gate, T* d_up, int64_t n) {
  using A = accumulator_t<T>;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const auto d = detail::swiglu_derivative(A(dh[i]), A(gate[i]), A(up[i]));
    detail::put(d_gate[i], d.gate);
    detail::put(d_up[i], d.up);
  }
}

template <class T>
void swiglu_forward(const T* gate, const T* up, T* h, int64_t n) {
  parallel_ranges(n, 4, [=](int64_t begin, int64_t end) {
    swiglu_range(gate + begin, up + begin, h + begin, end - begin);
  });
}

template <class T>
void swiglu_backward(const T* dh, const T* gate, const T* up, T* d_gate, T* d_up, int64_t n) {
  parallel_ranges(n, 6, [=](int64_t begin, int64_t end) {
    swiglu_backward_range(dh + begin, gate + begin, up + begin, d_gate + begin, d_up + begin,
                          end - begin);
  });
}

}  // namespace elastron::ops::cpu
