// CPU back ends of ops/boundary_pool.h: plain pointers, everything checked by the caller.
#pragma once
#include <algorithm>
#include <array>
#include <vector>

#include "core/dtype.h"
#include "ops/boundary_pool.h"
#include "ops/cpu/parallel_for.h"

namespace elastron::ops::cpu {

// A run of tokens that count `times` each. Runs of one segment do not overlap.
struct PoolRun {
  int64_t begin = 0, end = 0, times = 0;
};

struct PoolRuns {
  std::array<PoolRun, 3> run;
  int64_t count = 0;  // sum of lengths times multiplicities: what the sum is divided by
};

inline PoolRuns pool_runs(const PoolSegment& s, const PoolRule& rule) {
  PoolRuns runs;
  if (s.end <= s.begin) return runs;
  if (rule.boundary) {
    // pre = [begin, pre_end), suf = [suf_begin, end); where they overlap, tokens are in both.
    const int64_t pre_end = std::min(s.begin + rule.budget, s.end);
    const int64_t suf_begin = std::max(s.begin, s.end - rule.budget);
    const int64_t shared_begin = std::min(pre_end, suf_begin);
    runs.run = {PoolRun{s.begin, shared_begin, 1},
                PoolRun{shared_begin, pre_end, rule.dedup ? 1 : 2},
                PoolRun{std::max(pre_end, suf_begin), s.end, 1}};
  } else {
    runs.run[0] = {s.begin, s.end, 1};
  }
  for (const PoolRun& r : runs.run) runs.count += (r.end - r.begin) * r.times;
  return runs;
}

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
    const PoolRuns runs = pool_runs(segments[size_t(s)], rule);
    A* sums = pooled + s * width;
    std::fill(sums, sums + width, A(0));
    if (runs.count == 0) return;
    for (const PoolRun& run : runs.run) {
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
    const PoolRuns runs = pool_runs(segments[size_t(s)], rule);
    const A* d = d_pooled + s * width;
    for (const PoolRun& run : runs.run) {
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
