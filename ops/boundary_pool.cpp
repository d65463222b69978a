#include "ops/boundary_pool.h"

#include <algorithm>

#include "core/dispatch.h"
#include "ops/check.h"
#include "ops/cpu/parallel_for.h"

namespace elastron::ops {

namespace {

// Two runs of tokens whose sum, divided by their total length, is the pooled value.
struct Runs {
  PoolSegment first, second;
  int64_t count() const { return first.end - first.begin + second.end - second.begin; }
};

Runs runs_of(const PoolSegment& s, const PoolRule& rule) {
  if (s.end <= s.begin) return {};
  if (!rule.boundary) return {s, {}};
  Runs runs{{s.begin, std::min(s.begin + rule.budget, s.end)},
            {std::max(s.begin, s.end - rule.budget), s.end}};
  if (rule.dedup) runs.second.begin = std::max(runs.second.begin, runs.first.end);
  return runs;
}

void check_pool(const Tensor& k, const std::vector<PoolSegment>& segments) {
  ELASTRON_CHECK(k.rank() == 3 && k.stride(2) == 1 && k.stride(1) == k.size(2),
                 "pooling takes [tokens, kv_heads, head_dim]");
  check_cpu(k, "pooling");
  for (const PoolSegment& s : segments) {
    ELASTRON_CHECK(s.end <= s.begin || (s.begin >= 0 && s.end <= k.size(0)),
                   "pooling: segment beyond the batch");
  }
}

}  // namespace

Tensor boundary_pool_forward(const Tensor& k, const std::vector<PoolSegment>& segments,
                             const PoolRule& rule) {
  check_pool(k, segments);
  const int64_t width = k.size(1) * k.size(2), stride = k.stride(0);
  Tensor pooled = Tensor::zeros({int64_t(segments.size()), k.size(1), k.size(2)},
                                accumulator_dtype(k.dtype()), k.device());
  with_float_dtype(k.dtype(), [&]<class T>() {
    using A = accumulator_t<T>;
    const T* source = k.data<T>();
    A* out = pooled.data<A>();
    cpu::parallel_rows(int64_t(segments.size()), 2 * rule.budget * width, [&](int64_t s) {
      const Runs runs = runs_of(segments[size_t(s)], rule);
      if (runs.count() == 0) return;
      A* sums = out + s * width;
      for (const PoolSegment& run : {runs.first, runs.second}) {
        for (int64_t t = run.begin; t < run.end; ++t) {
#pragma omp simd
          for (int64_t i = 0; i < width; ++i) sums[i] += A(source[t * stride + i]);
        }
      }
      const A count = A(runs.count());
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) sums[i] /= count;
    });
  });
  return pooled;
}

void boundary_pool_backward(const Tensor& d_pooled, const std::vector<PoolSegment>& segments,
                            const PoolRule& rule, Tensor& dk) {
  check_pool(dk, segments);
  check_shape(d_pooled, {int64_t(segments.size()), dk.size(1), dk.size(2)}, "pooling backward");
  ELASTRON_CHECK(d_pooled.dtype() == accumulator_dtype(dk.dtype()),
                 "pooling backward: d_pooled is in master dtype");
  check_contiguous(d_pooled, "pooling backward");
  const int64_t width = dk.size(1) * dk.size(2), stride = dk.stride(0);
  with_float_dtype(dk.dtype(), [&]<class T>() {
    using A = accumulator_t<T>;
    const A* source = d_pooled.data<A>();
    T* out = dk.data<T>();
    // Segments of different sequences do not overlap, so each owns its rows of dk.
    cpu::parallel_rows(int64_t(segments.size()), 2 * rule.budget * width, [&](int64_t s) {
      const Runs runs = runs_of(segments[size_t(s)], rule);
      if (runs.count() == 0) return;
      const A share = A(1) / A(runs.count());
      for (const PoolSegment& run : {runs.first, runs.second}) {
        for (int64_t t = run.begin; t < run.end; ++t) {
#pragma omp simd
          for (int64_t i = 0; i < width; ++i) {
            out[t * stride + i] = T(A(out[t * stride + i]) + share * source[s * width + i]);
          }
        }
      }
    });
  });
}

}  // namespace elastron::ops
