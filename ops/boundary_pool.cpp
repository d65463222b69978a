#include "ops/boundary_pool.h"

#include "core/dispatch.h"
#include "ops/check.h"
#include "ops/cpu/boundary_pool.h"

namespace elastron::ops {

namespace {

void check_pool(const Tensor& k, const std::vector<PoolSegment>& segments, const PoolRule& rule) {
  ELASTRON_CHECK(k.rank() == 3 && k.stride(2) == 1 && k.stride(1) == k.size(2),
                 "pooling takes [tokens, kv_heads, head_dim]");
  ELASTRON_CHECK(!rule.boundary || rule.budget > 0, "pooling: the budget is at least one token");
  check_cpu(k, "pooling");
  for (const PoolSegment& s : segments) {
    ELASTRON_CHECK(s.end <= s.begin || (s.begin >= 0 && s.end <= k.size(0)),
                   "pooling: segment beyond the batch");
  }
}

}  // namespace

Tensor boundary_pool_forward(const Tensor& k, const std::vector<PoolSegment>& segments,
                             const PoolRule& rule) {
  check_pool(k, segments, rule);
  Tensor pooled = Tensor::empty({int64_t(segments.size()), k.size(1), k.size(2)},
                                accumulator_dtype(k.dtype()), k.device());
  with_float_dtype(k.dtype(), [&]<class T>() {
    cpu::boundary_pool_forward<T>(k.data<T>(), k.stride(0), k.size(1) * k.size(2), segments, rule,
                                  pooled.data<accumulator_t<T>>());
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
    cpu::boundary_pool_backward<T>(d_pooled.data<accumulator_t<T>>(), dk.stride(0),
                                   dk.size(1) * dk.size(2), segments, rule, dk.data<T>());
  });
}

}  // namespace elastron::ops
