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

template <class A>
void scale_row(A by, A* row, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) row[i] *= by;
}

// f(keys, values, rows): rows that stand one behind the other, in the order of the cache's.
template <class T, class F>
void for_each_run(const CachedHead& head, const VisibleRows& visible, const PageShape& page,
                  const F& f) {
  for (const auto& range : visible.ranges) {
    for (int64_t r = range.begin; r < range.end;) {
      const int64_t n = std::min(range.end - r, page.rows - r % page.rows);
      const T* k = static_cast<const T*>(head.pages[r / page.rows]) + r % page.rows * page.head_dim;
      f(k, k + page.rows * page.head_dim, n);
      r += n;
    }
  }
}

// The query heads of one kv head: q, out [group, head_dim]. Each run of keys is read once for all
// of them: scores first, then the softmax goes on from the largest score so far.
template <class T>
void decode_head(const T* q, const CachedHead& head, int64_t position, const PageShape& page,
                 int64_t group, double scale, T* out) {
  using A = accumulator_t<T>;
  const int64_t dim = page.head_dim;
  std::vector<A> scores(size_t(group * page.rows)), sums(size_t(group * dim), A(0));
  std::vector<A> largest(size_t(group), -std::numeric_limits<A>::infinity());
  std::vector<A> total(size_t(group), A(0));
  const auto go_on_over = [&](const T* k, const T* v, int64_t rows) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t g = 0; g < group; ++g) {
        scores[size_t(g * rows + r)] = A(scale) * dot_row(q + g * dim, k + r * dim, dim);
      }
    }
    for (int64_t g = 0; g < group; ++g) {
      A* s = scores.data() + g * rows;
      const A next = std::max(largest[size_t(g)], *std::max_element(s, s + rows));
      const A keep = std::exp(largest[size_t(g)] - next);
      largest[size_t(g)] = next;
      A of_run = 0;
      for (int64_t r = 0; r < rows; ++r) of_run += s[r] = std::exp(s[r] - next);
      total[size_t(g)] = total[size_t(g)] * keep + of_run;
      if (keep != A(1)) scale_row(keep, sums.data() + g * dim, dim);
    }
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t g = 0; g < group; ++g) {
        add_scaled_row(scores[size_t(g * rows + r)], v + r * dim, sums.data() + g * dim, dim);
      }
    }
  };
  for_each_run<T>(head, head.rows.visible(position), page, go_on_over);
  for (int64_t g = 0; g < group; ++g) {
    for (int64_t i = 0; i < dim; ++i) {
      detail::put(out[g * dim + i], sums[size_t(g * dim + i)] / total[size_t(g)]);
    }
  }
}

}  // namespace elastron::ops::cpu
