#include "ops/expert_choice.h"

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/expert_choice.h"
#include "ops/cuda/expert_choice.h"

namespace elastron::ops {

namespace {

void check_logits(const Tensor& logits, const ExpertRule& rule, const char* op) {
  check_contiguous(logits, op);
  ELASTRON_CHECK(logits.rank() == 2 && logits.size(1) <= kMostExperts && rule.per_token >= 1 &&
                     rule.per_token <= logits.size(1) && rule.per_token <= kMostChosen,
                 std::string(op) + ": " + std::to_string(rule.per_token) + " experts of logits " +
                     logits.shape().str());
}

void check_chosen(const Tensor& logits, const Tensor& experts, const ExpertRule& rule,
                  const char* op) {
  check_logits(logits, rule, op);
  check_shape(experts, {logits.size(0), rule.per_token}, op);
  check_dense(op, logits, experts);
}

OpCost of_tokens(OpCost cost, int64_t tokens) {
  cost.launches = tokens > 0 ? 1 : 0;
  return cost;
}

}  // namespace

ExpertChoice choose_experts(const Tensor& logits, const ExpertRule& rule) {
  check_logits(logits, rule, "choose_experts");
  Device& device = logits.device();
  const int64_t tokens = logits.size(0), experts = logits.size(1), k = rule.per_token;
  ExpertChoice choice{.experts = Tensor::empty({tokens, k}, DType::i32, device), .weights = {}};
  int32_t* chosen = choice.experts.data<int32_t>();
  with_float_dtype(logits.dtype(), [&]<class T>() {
    const T* from = logits.data<T>();
    run_on(
        device, [&] { cpu::choose_experts(from, tokens, experts, k, chosen); },
        [&](auto stream) { cuda::choose_experts(from, tokens, experts, k, chosen, stream); },
        [&] { return of_tokens(touches("choose_experts", logits, choice.experts), tokens); });
  });
  choice.weights = expert_weights(logits, choice.experts, rule);
  return choice;
}

Tensor expert_weights(const Tensor& logits, const Tensor& experts, const ExpertRule& rule) {
  check_chosen(logits, experts, rule, "expert_weights");
  Tensor weights =
      Tensor::empty(experts.shape(), accumulator_dtype(logits.dtype()), logits.device());
  const int32_t* chosen = experts.data<int32_t>();
  const int64_t tokens = logits.size(0), count = logits.size(1), k = rule.per_token;
  with_float_dtype(logits.dtype(), [&]<class T>() {
    const T* from = logits.data<T>();
    auto* to = weights.data<accumulator_t<T>>();
    run_on(
        logits.device(),
        [&] { cpu::expert_weights(from, chosen, tokens, count, k, rule.normalise, to); },
        [&](auto stream) {
          cuda::expert_weights(from, chosen, tokens, count, k, rule.normalise, to, stream);
        },
        [&] { return of_tokens(touches("expert_weights", logits, experts, weights), tokens); });
  });
  return weights;
}

Tensor expert_weights_backward(const Tensor& d_weights, const Tensor& logits, const Tensor& experts,
                               const ExpertRule& rule) {
  const char* op = "expert_weights_backward";
  check_chosen(logits, experts, rule, op);
  check_shape(d_weights, experts.shape(), op);
  check_dense(op, logits, d_weights);
  Tensor d_logits = Tensor::empty(logits.shape(), logits.dtype(), logits.device());
  const int32_t* chosen = experts.data<int32_t>();
  const int64_t tokens = logits.size(0), count = logits.size(1), k = rule.per_token;
  with_float_dtype(logits.dtype(), [&]<class T>() {
    const T* from = logits.data<T>();
    const auto* d = d_weights.data<accumulator_t<T>>();
    T* to = d_logits.data<T>();
    run_on(
        logits.device(),
        [&] {
          cpu::expert_weights_backward(d, from, chosen, tokens, count, k, rule.normalise, to);
        },
        [&](auto stream) {
          cuda::expert_weights_backward(d, from, chosen, tokens, count, k, rule.normalise, to,
                                        stream);
        },
        [&] { return of_tokens(touches(op, d_weights, logits, experts, d_logits), tokens); });
  });
  return d_logits;
}

}  // namespace elastron::ops
