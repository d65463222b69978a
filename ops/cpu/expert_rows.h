// CPU back end of ops/expert_rows.h: checked by the front.
#pragma once
#include <algorithm>
#include <vector>

#include "ops/cpu/elementwise.h"
#include "ops/cpu/parallel_for.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cpu {

inline void rows_by_expert(const int32_t* chosen, int64_t slots, int64_t k, int64_t experts,
                           int32_t* bounds, int32_t* tokens, int32_t* slot_of, int32_t* places) {
  std::fill(bounds, bounds + experts + 1, 0);
  for (int64_t s = 0; s < slots; ++s) ++bounds[chosen[s] + 1];
  for (int64_t e = 0; e < experts; ++e) bounds[e + 1] += bounds[e];
  std::vector<int32_t> next(bounds, bounds + experts);
  for (int64_t s = 0; s < slots; ++s) {
    const int32_t row = next[size_t(chosen[s])]++;
    tokens[row] = int32_t(s / k);
    slot_of[row] = int32_t(s);
    places[s] = row;
  }
}

// sum (+)= weight x, [n]
template <class T, class A = accumulator_t<T>>
void add_weighted_row(const T* x, A weight, bool first, A* sum, int64_t n) {
  if (first) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) sum[i] = weight * A(x[i]);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) sum[i] += weight * A(x[i]);
  }
}

template <class T, class A = accumulator_t<T>>
void sum_expert_rows(const T* x, const int32_t* places, const A* weights, T* y, int64_t tokens,
                     int64_t k, int64_t n) {
  parallel_ranges(tokens, k * n, [=](int64_t begin, int64_t end) {
    std::vector<A> sum(static_cast<size_t>(n));
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t j = 0; j < k; ++j) {
        const int64_t slot = t * k + j;
        add_weighted_row(x + places[slot] * n, weights == nullptr ? A(1) : weights[slot], j == 0,
                         sum.data(), n);
      }
      cast_range(sum.data(), y + t * n, n);
    }
  });
}

// x *= weight, [n]; -> the product with h before that.
template <class T, class A = accumulator_t<T>>
A weigh_row(T* x, const T* h, A weight, int64_t n) {
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    sum += A(x[i]) * A(h[i]);
    detail::put(x[i], A(x[i]) * weight);
  }
  return sum;
}

template <class T, class A = accumulator_t<T>>
void weigh_expert_gradient(T* d_h, const T* h, const int32_t* slots, const A* weights, A* d_weights,
                           int64_t rows, int64_t n) {
  parallel_rows(rows, n, [=](int64_t r) {
    d_weights[slots[r]] = weigh_row(d_h + r * n, h + r * n, weights[slots[r]], n);
  });
}

}  // namespace elastron::ops::cpu
