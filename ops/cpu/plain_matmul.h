// Matrix products in plain loops: float64, for the finite-difference checks. Shapes as in
// ops/cpu/matmul.h.
#pragma once
#include <algorithm>
#include <cstdint>

#include "ops/cpu/parallel_for.h"

namespace elastron::ops::cpu {

inline double dot_row(const double* a, const double* b, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// sums += factor * x, [n]
inline void add_scaled_row(double factor, const double* x, double* sums, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sums[i] += factor * x[i];
}

inline void plain_forward(const double* x, const double* w, const double* bias, double* y,
                          int64_t rows, int64_t out, int64_t in) {
  parallel_rows(rows, out * in, [=](int64_t r) {
    for (int64_t o = 0; o < out; ++o) {
      y[r * out + o] = (bias != nullptr ? bias[o] : 0.0) + dot_row(x + r * in, w + o * in, in);
    }
  });
}

inline void plain_dgrad(const double* dy, const double* w, bool accumulate, double* dx,
                        int64_t rows, int64_t out, int64_t in) {
  parallel_rows(rows, out * in, [=](int64_t r) {
    double* d = dx + r * in;
    if (!accumulate) std::fill(d, d + in, 0.0);
    for (int64_t o = 0; o < out; ++o) add_scaled_row(dy[r * out + o], w + o * in, d, in);
  });
}

inline void plain_wgrad(const double* dy, const double* x, double* dw, int64_t rows, int64_t out,
                        int64_t in) {
  parallel_rows(out, rows * in, [=](int64_t o) {
    for (int64_t r = 0; r < rows; ++r) {
      add_scaled_row(dy[r * out + o], x + r * in, dw + o * in, in);
    }
  });
}

}  // namespace elastron::ops::cpu
