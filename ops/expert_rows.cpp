#include "ops/expert_rows.h"

#include <limits>

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/expert_rows.h"
#include "ops/cuda/expert_rows.h"

namespace elastron::ops {

namespace {

OpCost of_rows(OpCost cost, int64_t rows) {
  cost.launches = rows > 0 ? 1 : 0;
  return cost;
}

}  // namespace

ExpertRows rows_by_expert(const Tensor& chosen, int64_t experts) {
  const char* op = "rows_by_expert";
  check_contiguous(chosen, op);
  ELASTRON_CHECK(chosen.rank() == 2 && chosen.numel() <= std::numeric_limits<int32_t>::max(),
                 "rows_by_expert: chosen " + chosen.shape().str());
  const int64_t slots = chosen.numel(), k = chosen.size(1);
  const auto made = [&](int64_t n) { return Tensor::empty({n}, DType::i32, chosen.device()); };
  ExpertRows rows{made(experts + 1), made(slots), made(slots), made(slots)};
  const int32_t* from = chosen.data<int32_t>();
  int32_t *bounds = rows.bounds.data<int32_t>(), *tokens = rows.tokens.data<int32_t>(),
          *slot_of = rows.slots.data<int32_t>(), *places = rows.places.data<int32_t>();
  run_on(
      chosen.device(),
      [&] { cpu::rows_by_expert(from, slots, k, experts, bounds, tokens, slot_of, places); },
      [&](auto stream) {
        cuda::rows_by_expert(from, slots, k, experts, bounds, tokens, slot_of, places, stream);
      },
      [&] {
        return touches(op, chosen, chosen, rows.bounds, rows.tokens, rows.slots, rows.places);
      });
  return rows;
}

Tensor sum_expert_rows(const Tensor& x, const ExpertRows& rows, int64_t tokens,
                       const Tensor& weights) {
  const char* op = "sum_expert_rows";
  check_dense(op, x, rows.places);
  ELASTRON_CHECK(
      x.rank() == 2 && x.size(0) == rows.places.numel() && tokens >= 0 &&
          (tokens == 0 ? x.size(0) == 0 : x.size(0) % tokens == 0),
      "sum_expert_rows: rows " + x.shape().str() + " of " + std::to_string(tokens) + " tokens");
  const int64_t n = x.size(1), k = tokens == 0 ? 0 : x.size(0) / tokens;
  if (weights.defined()) {
    check_dense(op, x, weights);
    ELASTRON_CHECK(weights.numel() == x.size(0), "sum_expert_rows: a weight per row");
  }
  Tensor y = Tensor::empty({tokens, n}, x.dtype(), x.device());
  const int32_t* places = rows.places.data<int32_t>();
  with_float_dtype(x.dtype(), [&]<class T>() {
    using A = accumulator_t<T>;
    const T* from = x.data<T>();
    const A* factors = weights.defined() ? weights.data<A>() : nullptr;
    T* to = y.data<T>();
    run_on(
        x.device(), [&] { cpu::sum_expert_rows(from, places, factors, to, tokens, k, n); },
        [&](auto stream) {
          cuda::sum_expert_rows(from, places, factors, to, tokens, k, n, stream);
        },
        [&] { return of_rows(touches(op, x, rows.places, y), tokens); });
  });
  return y;
}

Tensor weigh_expert_gradient(Tensor& d_h, const Tensor& h, const ExpertRows& rows,
                             const Tensor& weights) {
  const char* op = "weigh_expert_gradient";
  check_same(d_h, h, op);
  check_dense(op, d_h, h, rows.slots, weights);
  ELASTRON_CHECK(
      d_h.rank() == 2 && d_h.size(0) == weights.numel() && rows.slots.numel() == weights.numel(),
      "weigh_expert_gradient: d_h " + d_h.shape().str() + ", weights " + weights.shape().str());
  Tensor d_weights = Tensor::empty(weights.shape(), weights.dtype(), weights.device());
  const int64_t count = d_h.size(0), n = d_h.size(1);
  const int32_t* slots = rows.slots.data<int32_t>();
  with_float_dtype(d_h.dtype(), [&]<class T>() {
    using A = accumulator_t<T>;
    T* d = d_h.data<T>();
    const T* from = h.data<T>();
    const A* factors = weights.data<A>();
    A* to = d_weights.data<A>();
    run_on(
        d_h.device(), [&] { cpu::weigh_expert_gradient(d, from, slots, factors, to, count, n); },
        [&](auto stream) {
          cuda::weigh_expert_gradient(d, from, slots, factors, to, count, n, stream);
        },
        [&] { return of_rows(touches(op, d_h, d_h, h, rows.slots, weights, d_weights), count); });
  });
  return d_weights;
}

}  // namespace elastron::ops
