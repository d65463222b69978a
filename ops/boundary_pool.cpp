#include "ops/boundary_pool.h"

#include <algorithm>

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/boundary_pool.h"
#include "ops/cuda/token_ops.h"
#include "ops/detail/pool_runs.h"

namespace elastron::ops {

namespace {

void check_pool(const Tensor& k, const std::vector<PoolSegment>& segments, const PoolRule& rule) {
  ELASTRON_CHECK(k.rank() == 3 && k.stride(2) == 1 && k.stride(1) == k.size(2),
                 "pooling takes [tokens, kv_heads, head_dim]");
  ELASTRON_CHECK(!rule.boundary || rule.budget > 0, "pooling: the budget is at least one token");
  for (const PoolSegment& s : segments) {
    ELASTRON_CHECK(s.end <= s.begin || (s.begin >= 0 && s.end <= k.size(0)),
                   "pooling: segment beyond the batch");
  }
}

// Tokens that one segment pools, at most.
int64_t most_pooled(const std::vector<PoolSegment>& segments, const PoolRule& rule) {
  int64_t most = 0;
  for (const PoolSegment& s : segments) {
    int64_t tokens = 0;
    for (const auto& run : detail::pool_runs(s, rule).run) tokens += run.end - run.begin;
    most = std::max(most, tokens);
  }
  return most;
}

// The pooled rows of `keys`, which are few of them, and what becomes of them.
void meta_pool(MetaDevice& meta, const char* name, const Tensor& pooled,
               const std::vector<PoolSegment>& segments, const PoolRule& rule, const Tensor& keys) {
  const double rows = double(most_pooled(segments, rule)) * double(segments.size());
  const double row_bytes = double(keys.size(1) * keys.size(2)) * double(dtype_size(keys.dtype()));
  OpCost cost = touches(name, pooled);
  cost.bytes += rows * row_bytes;
  meta.record(cost);
  if (meta.behaves_as() == DeviceKind::cuda) on_device(std::span(segments), meta);
}

}  // namespace

Tensor boundary_pool_forward(const Tensor& k, const std::vector<PoolSegment>& segments,
                             const PoolRule& rule) {
  check_pool(k, segments, rule);
  Tensor pooled = Tensor::empty({int64_t(segments.size()), k.size(1), k.size(2)},
                                accumulator_dtype(k.dtype()), k.device());
  with_float_dtype(k.dtype(), [&]<class T>() {
    const T* from = k.data<T>();
    auto* to = pooled.data<accumulator_t<T>>();
    const int64_t width = k.size(1) * k.size(2);
    run_on(
        k.device(),
        [&] { cpu::boundary_pool_forward<T>(from, k.stride(0), width, segments, rule, to); },
        [&](auto stream) {
          const Tensor places = on_device(std::span(segments), k.device());
          cuda::boundary_pool_forward<T>(from, k.stride(0), width,
                                         static_cast<const PoolSegment*>(places.raw()),
                                         int64_t(segments.size()), rule, to, stream);
        },
        [&](MetaDevice& meta) { meta_pool(meta, "boundary_pool", pooled, segments, rule, k); });
  });
  return pooled;
}

void boundary_pool_backward(const Tensor& d_pooled, const std::vector<PoolSegment>& segments,
                            const PoolRule& rule, Tensor& dk) {
  check_pool(dk, segments, rule);
  check_shape(d_pooled, {int64_t(segments.size()), dk.size(1), dk.size(2)}, "pooling backward");
  ELASTRON_CHECK(d_pooled.dtype() == accumulator_dtype(dk.dtype()),
                 "pooling backward: d_pooled is in master dtype");
  check_contiguous(d_pooled, "pooling backward");
  with_float_dtype(dk.dtype(), [&]<class T>() {
    const auto* from = d_pooled.data<accumulator_t<T>>();
    T* to = dk.data<T>();
    const int64_t width = dk.size(1) * dk.size(2);
    run_on(
        dk.device(),
        [&] { cpu::boundary_pool_backward<T>(from, dk.stride(0), width, segments, rule, to); },
        [&](auto stream) {
          const Tensor places = on_device(std::span(segments), dk.device());
          cuda::boundary_pool_backward<T>(
              from, dk.stride(0), width, static_cast<const PoolSegment*>(places.raw()),
              int64_t(segments.size()), most_pooled(segments, rule), rule, to, stream);
        },
        [&](MetaDevice& meta) {
          meta_pool(meta, "boundary_pool_backward", d_pooled, segments, rule, dk);
        });
  });
}

}  // namespace elastron::ops
