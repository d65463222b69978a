// CPU back end of ops/swiglu.h.
#pragma once
#include "core/dtype.h"
#include "ops/cpu/parallel_for.h"
#include "ops/detail/swiglu_math.h"

namespace elastron::ops::cpu {

template <class T> void swiglu_forward(const T* gate, const T* up, T* h, int64_t n) {
  using A = accumulator_t<T>;
  parallel_ranges(n, 4, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) h[i] = T(detail::swiglu(A(gate[i]), A(up[i])));
  });
}

// The outputs may be the inputs: every element is read before it is written.
template <class T>
void swiglu_backward(const T* dh, const T* gate, const T* up, T* d_gate, T* d_up, int64_t n) {
  using A = accumulator_t<T>;
  parallel_ranges(n, 6, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const auto d = detail::swiglu_derivative(A(dh[i]), A(gate[i]), A(up[i]));
      d_gate[i] = T(d.gate);
      d_up[i] = T(d.up);
    }
  });
}

}  // namespace elastron::ops::cpu
