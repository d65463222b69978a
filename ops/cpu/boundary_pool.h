// CPU back ends of ops/boundary_pool.h: plain pointers, everything checked by the caller.
#pragma once
#include <algorithm>
#include <vector>

#include "core/dtype.h"
#include "ops/cpu/parallel_for.h"
#include "ops/detail/pool_runs.h"

namespace elastron::ops::cpu {

// Elements that pooling one segment reads: for sharing the work.
inline int64_t pool_elements(const std::vector<PoolSegment>& segments, const PoolRule& rule,
                             int64_t width) {
  int64_t longest = 0;
  for (const PoolSegment& s : segments) longest = std::max(longest, s.end - s.begin);
  return (rule.boundary ? std::min(longest, 2 * rule.budget) : longest) * width;
}

// k: rows of `width` elements, `stride` apart; pooled [segments, width].
template <class T>
void boundary_pool_forward(const T* k, int64_t stride, int64_t width,
                           const std::vector<PoolSegment>& segments, const PoolRule& rule,
                           accumulator_t<T>* pooled) {
  using A = accumulator_t<T>;
  parallel_rows(int64_t(segments.size()), pool_elements(segments, rule, width), [&](int64_t s) {
    const detail::PoolRuns runs = detail::pool_runs(segments[size_t(s)], rule);
    A* sums = pooled + s * width;
    std::fill(sums, sums + width, A(0));
    if (runs.count == 0) return;
    for (const detail::PoolRun& run : runs.run) {
      const A times = A(run.times);
      for (int64_t t = run.begin; t < run.end; ++t) {
        const T* row = k + t * stride;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) sums[i] += times * A(row[i]);
      }
    }
    const A count = A(runs.count);
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) sums[i] /= count;
  });
}

// Adds to dk. Segments of different sequences do not overlap, so each owns its rows of dk.
template <class T>
void boundary_pool_backward(const accumulator_t<T>* d_pooled, int64_t stride, int64_t width,
                            const std::vector<PoolSegment>& segments, const PoolRule& rule, T* dk) {
  using A = accumulator_t<T>;
  parallel_rows(int64_t(segments.size()), pool_elements(segments, rule, width), [&](int64_t s) {
    const detail::PoolRuns runs = detail::pool_runs(segments[size_t(s)], rule);
    const A* d = d_pooled + s * width;
    for (const detail::PoolRun& run : runs.run) {
      const A share = A(run.times) / A(std::max<int64_t>(runs.count, 1));
      for (int64_t t = run.begin; t < run.end; ++t) {
        T* row = dk + t * stride;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) row[i] = T(A(row[i]) + share * d[i]);
      }
    }
  });
}

}  // namespace elastron::ops::cpu
