// CPU back end of ops/rms_norm.h.
#pragma once
#include <cmath>

#include "core/dtype.h"
#include "ops/cpu/column_sums.h"
#include "ops/cpu/parallel_for.h"

namespace elastron::ops::cpu {

template <class T>
void rms_norm_forward(const T* x, const T* w, T* y, accumulator_t<T>* inv_rms, int64_t rows,
                      int64_t n, double eps) {
  using A = accumulator_t<T>;
  parallel_rows(rows, n, [=](int64_t row) {
    const T* xr = x + row * n;
    T* yr = y + row * n;
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) sum += A(xr[i]) * A(xr[i]);
    const A inv = A(1) / std::sqrt(sum / A(n) + A(eps));
    inv_rms[row] = inv;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) yr[i] = T(A(T(A(xr[i]) * inv)) * A(w[i]));
  });
}

// dx = inv (w dy - x inv^2 mean(w dy x)); dw = sum over rows of dy x inv.
template <class T>
void rms_norm_backward(const T* dy, const T* x, const T* w, const accumulator_t<T>* inv_rms, T* dx,
                       bool accumulate, int64_t rows, int64_t n) {
  using A = accumulator_t<T>;
  parallel_rows(rows, 2 * n, [=](int64_t row) {
    const T* dyr = dy + row * n;
    const T* xr = x + row * n;
    T* dxr = dx + row * n;
    const A inv = inv_rms[row];
    A dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < n; ++i) dot += A(dyr[i]) * A(w[i]) * A(xr[i]);
    const A pull = dot * inv * inv / A(n);
    if (accumulate) {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        dxr[i] = T(A(dxr[i]) + inv * (A(dyr[i]) * A(w[i]) - A(xr[i]) * pull));
      }
    } else {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        dxr[i] = T(inv * (A(dyr[i]) * A(w[i]) - A(xr[i]) * pull));
      }
    }
  });
}

template <class T>
void rms_norm_weight_gradient(const T* dy, const T* x, const accumulator_t<T>* inv_rms,
                              accumulator_t<T>* dw, int64_t rows, int64_t n) {
  using A = accumulator_t<T>;
  add_column_sums<A>(rows, n, dw, [=](int64_t row, A* sums) {
    const T* dyr = dy + row * n;
    const T* xr = x + row * n;
    const A inv = inv_rms[row];
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) sums[i] += A(dyr[i]) * A(xr[i]) * inv;
  });
}

}  // namespace elastron::ops::cpu
