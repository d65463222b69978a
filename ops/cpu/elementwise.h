// CPU back ends of ops/elementwise.h: plain pointers, everything checked by the caller.
#pragma once
#include <cmath>
#include <cstring>
#include <vector>

#include "core/dtype.h"
#include "ops/cpu/parallel_for.h"
#include "ops/detail/swiglu_math.h"

namespace elastron::ops::cpu {

template <class T> void add_into(T* a, const T* b, int64_t n) {
  using A = accumulator_t<T>;
  parallel_ranges(n, 1, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) a[i] = T(A(a[i]) + A(b[i]));
  });
}

template <class T> void scale_into(T* a, double factor, int64_t n) {
  using A = accumulator_t<T>;
  const A f = A(factor);
  parallel_ranges(n, 1, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) a[i] = T(A(a[i]) * f);
  });
}

template <class From, class To> void cast(const From* x, To* y, int64_t n) {
  // Through the wider of the two accumulators, so that double to float rounds once.
  parallel_ranges(n, 1, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      y[i] = To(accumulator_t<To>(accumulator_t<From>(x[i])));
    }
  });
}

template <class T> void silu_forward(const T* x, T* y, int64_t n) {
  using A = accumulator_t<T>;
  parallel_ranges(n, 4, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = T(detail::silu(A(x[i])));
  });
}

template <class T> void silu_backward(const T* dy, const T* x, T* dx, int64_t n) {
  using A = accumulator_t<T>;
  parallel_ranges(n, 4, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      dx[i] = T(A(dy[i]) * detail::silu_derivative(A(x[i])));
    }
  });
}

// Summed per block of fixed size, then over blocks in order: the same for any thread count.
template <class T> double sum_of_squares(const T* x, int64_t n) {
  constexpr int64_t kBlock = 4096;
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  std::vector<double> partial(size_t(blocks), 0.0);
  parallel_rows(blocks, kBlock, [&](int64_t b) {
    double sum = 0;
    const int64_t end = std::min(n, (b + 1) * kBlock);
    for (int64_t i = b * kBlock; i < end; ++i) {
      const double value = double(accumulator_t<T>(x[i]));
      sum += value * value;
    }
    partial[size_t(b)] = sum;
  });
  double sum = 0;
  for (double p : partial) sum += p;
  return sum;
}

template <class T> bool all_finite(const T* x, int64_t n) {
  // x * 0 is 0 for finite x and NaN otherwise; one compare at the end.
  using A = accumulator_t<T>;
  A zeros = 0;
#pragma omp simd reduction(+ : zeros)
  for (int64_t i = 0; i < n; ++i) zeros += A(x[i]) * A(0);
  return zeros == A(0);
}

inline void gather_rows(const void* x, const int32_t* rows, void* y, int64_t n, size_t row_bytes) {
  parallel_rows(n, int64_t(row_bytes) / 4, [=](int64_t i) {
    std::memcpy(static_cast<char*>(y) + size_t(i) * row_bytes,
                static_cast<const char*>(x) + size_t(rows[i]) * row_bytes, row_bytes);
  });
}

inline void scatter_rows(const void* x, const int32_t* rows, void* y, int64_t n,
                         size_t row_bytes) {
  parallel_rows(n, int64_t(row_bytes) / 4, [=](int64_t i) {
    std::memcpy(static_cast<char*>(y) + size_t(rows[i]) * row_bytes,
                static_cast<const char*>(x) + size_t(i) * row_bytes, row_bytes);
  });
}

}  // namespace elastron::ops::cpu
