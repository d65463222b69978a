// CPU back end of ops/decode_attention.h: plain pointers, everything checked by the caller.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/dtype.h"
#include "ops/detail/vector_math.h"
#include "ops/kv_cache.h"

namespace elastron::ops::cpu {

template <class T>
accumulator_t<T> dot_row(const T* a, const T* b, int64_t n) {
  using A = accumulator_t<T>;
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += A(a[i]) * A(b[i]);
  return sum;
}

template <class T, class A>
void add_scaled_row(A weight, const T* row, A* sum, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sum[i] += weight * A(row[i]);
}

// One query head: q, out [head_dim].
template <class T>
void decode_head(const T* q, const CachedHead& head, const VisibleRows& visible, double scale,
                 int64_t head_dim, T* out) {
  using A = accumulator_t<T>;
  const T* k = head.k.template data<T>();
  const T* v = head.v.template data<T>();
  std::vector<A> scores(size_t(visible.keys()));
  A largest = -std::numeric_limits<A>::infinity();
  size_t n = 0;
  for (const auto& range : visible.ranges) {
    for (int64_t r = range.begin; r < range.end; ++r) {
      const A score = A(scale) * dot_row(q, k + r * head_dim, head_dim);
      scores[n++] = score;
      largest = std::max(largest, score);
    }
  }
  std::vector<A> sum(size_t(head_dim), A(0));
  A total = 0;
  n = 0;
  for (const auto& range : visible.ranges) {
    for (int64_t r = range.begin; r < range.end; ++r) {
      const A weight = std::exp(scores[n++] - largest);
      total += weight;
      add_scaled_row(weight, v + r * head_dim, sum.data(), head_dim);
    }
  }
  for (int64_t i = 0; i < head_dim; ++i) detail::put(out[i], sum[size_t(i)] / total);
}

}  // namespace elastron::ops::cpu
