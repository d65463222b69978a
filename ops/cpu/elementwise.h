// CPU back ends of ops/elementwise.h: plain pointers, everything checked by the caller.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/dtype.h"
#include "ops/cpu/parallel_for.h"
#include "ops/detail/swiglu_math.h"

namespace elastron::ops::cpu {

template <class T>
void sum_range(const T* a, const T* b, T* sum, int64_t n) {
  using A = accumulator_t<T>;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) detail::put(sum[i], A(a[i]) + A(b[i]));
}

template <class T>
void scale_range(T* a, accumulator_t<T> factor, int64_t n) {
  using A = accumulator_t<T>;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) detail::put(a[i], A(a[i]) * factor);
}

template <class From, class To>
void cast_range(const From* x, To* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) detail::put(y[i], accumulator_t<From>(x[i]));
}

template <class T>
void silu_range(const T* x, T* y, int64_t n) {
  using A = accumulator_t<T>;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) detail::put(y[i], detail::silu(A(x[i])));
}

template <class T>
void silu_backward_range(const T* dy, const T* x, T* dx, int64_t n) {
  using A = accumulator_t<T>;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    detail::put(dx[i], A(dy[i]) * detail::silu_derivative(A(x[i])));
  }
}

template <class T>
double sum_of_squares_range(const T* x, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    const double value = double(accumulator_t<T>(x[i]));
    sum += value * value;
  }
  return sum;
}

// x * 0 is 0 for finite x and NaN otherwise; one compare at the end.
template <class T>
bool finite_range(const T* x, int64_t n) {
  using A = accumulator_t<T>;
  A zeros = 0;
#pragma omp simd reduction(+ : zeros)
  for (int64_t i = 0; i < n; ++i) zeros += A(x[i]) * A(0);
  return zeros == A(0);
}

// sum may be a or b.
template <class T>
void add(const T* a, const T* b, T* sum, int64_t n) {
  parallel_ranges(n, 1, [=](int64_t begin, int64_t end) {
    sum_range(a + begin, b + begin, sum + begin, end - begin);
  });
}

template <class T>
void scale_into(T* a, double factor, int64_t n) {
  parallel_ranges(n, 1, [=](int64_t begin, int64_t end) {
    scale_range(a + begin, accumulator_t<T>(factor), end - begin);
  });
}

template <class From, class To>
void cast(const From* x, To* y, int64_t n) {
  parallel_ranges(
      n, 1, [=](int64_t begin, int64_t end) { cast_range(x + begin, y + begin, end - begin); });
}

template <class T>
void sum_parts(const T* parts, T* sum, int64_t n, int64_t m) {
  using A = accumulator_t<T>;
  parallel_ranges(m, n, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      A total = 0;
      for (int64_t r = 0; r < n; ++r) total += A(parts[r * m + i]);
      detail::put(sum[i], total);
    }
  });
}

template <class T>
void silu_forward(const T* x, T* y, int64_t n) {
  parallel_ranges(
      n, 4, [=](int64_t begin, int64_t end) { silu_range(x + begin, y + begin, end - begin); });
}

template <class T>
void silu_backward(const T* dy, const T* x, T* dx, int64_t n) {
  parallel_ranges(n, 4, [=](int64_t begin, int64_t end) {
    silu_backward_range(dy + begin, x + begin, dx + begin, end - begin);
  });
}

template <class T>
void clamp_into(T* a, double low, double high, int64_t n) {
  using A = accumulator_t<T>;
  for (int64_t i = 0; i < n; ++i) detail::put(a[i], detail::clamped(A(a[i]), A(low), A(high)));
}

// Summed per block of fixed size, then over blocks in order: the same for any thread count.
template <class T>
double sum_of_squares(const T* x, int64_t n) {
  constexpr int64_t kBlock = 4096;
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  std::vector<double> partial(size_t(blocks), 0.0);
  parallel_rows(blocks, kBlock, [&](int64_t b) {
    const int64_t begin = b * kBlock;
    partial[size_t(b)] = sum_of_squares_range(x + begin, std::min(kBlock, n - begin));
  });
  double sum = 0;
  for (const double p : partial) sum += p;
  return sum;
}

template <class T>
bool all_finite(const T* x, int64_t n) {
  bool finite = true;
  parallel_ranges(n, 1, [&](int64_t begin, int64_t end) {
    if (finite_range(x + begin, end - begin)) return;
#pragma omp atomic write
    finite = false;
  });
  return finite;
}

}  // namespace elastron::ops::cpu
