// CPU back end of ops/rms_norm.h: plain pointers, everything checked by the caller.
#pragma once
#include <cmath>

#include "core/dtype.h"
#include "ops/cpu/column_sums.h"
#include "ops/cpu/parallel_for.h"
#include "ops/detail/rms_norm_math.h"

namespace elastron::ops::cpu {

// One row: y, and 1 / rms as the result.
template <class T>
accumulator_t<T> rms_norm_row(const T* x, const T* w, T* y, int64_t n, double eps) {
  using A = accumulator_t<T>;
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += A(x[i]) * A(x[i]);
  const A r = A(1) / std::sqrt(sum / A(n) + A(eps));
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) detail::put(y[i], detail::rms_norm<T>(A(x[i]), r, A(w[i])));
  return r;
}

template <class T, bool kAccumulate>
void rms_norm_backward_row(const T* dy, const T* x, const T* w, accumulator_t<T> r, T* dx,
                           int64_t n) {
  using A = accumulator_t<T>;
  A dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < n; ++i) dot += A(dy[i]) * A(w[i]) * A(x[i]);
  const A m = dot * r * r / A(n);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const A d = detail::rms_norm_derivative(A(dy[i]), A(x[i]), A(w[i]), r, m);
    detail::put(dx[i], kAccumulate ? A(dx[i]) + d : d);
  }
}

template <class T>
void add_rms_norm_weight_row(const T* dy, const T* x, accumulator_t<T> r, accumulator_t<T>* sums,
                             int64_t n) {
  using A = accumulator_t<T>;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sums[i] += A(dy[i]) * A(x[i]) * r;
}

template <class T>
void rms_norm_forward(const T* x, const T* w, T* y, accumulator_t<T>* inv_rms, int64_t rows,
                      int64_t n, double eps) {
  parallel_rows(rows, n, [=](int64_t row) {
    inv_rms[row] = rms_norm_row(x + row * n, w, y + row * n, n, eps);
  });
}

template <class T>
void rms_norm_backward(const T* dy, const T* x, const T* w, const accumulator_t<T>* inv_rms, T* dx,
                       bool accumulate, int64_t rows, int64_t n) {
  const auto row_function =
      accumulate ? rms_norm_backward_row<T, true> : rms_norm_backward_row<T, false>;
  parallel_rows(rows, 2 * n, [=](int64_t row) {
    row_function(dy + row * n, x + row * n, w, inv_rms[row], dx + row * n, n);
  });
}

template <class T>
void rms_norm_weight_gradient(const T* dy, const T* x, const accumulator_t<T>* inv_rms,
                              accumulator_t<T>* dw, int64_t rows, int64_t n) {
  add_column_sums(rows, n, dw, [=](int64_t row, accumulator_t<T>* sums) {
    add_rms_norm_weight_row(dy + row * n, x + row * n, inv_rms[row], sums, n);
  });
}

}  // namespace elastron::ops::cpu
