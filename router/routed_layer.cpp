#include "router/routed_layer.h"

#include "ops/elementwise.h"

namespace elastron::router {

ops::PoolSegment pool_segment(PoolSegmentKind kind, std::span<const int64_t> range_ids,
                              int64_t document_begin) {
  ELASTRON_CHECK(range_ids.size() == 8, "range_ids has 8 entries");
  size_t first = 0, last = 0;
  switch (kind) {
    case PoolSegmentKind::first_token: first = 0, last = 1; break;
    case PoolSegmentKind::ctx: first = 2, last = 3; break;
    case PoolSegmentKind::q: first = 4, last = 5; break;
    case PoolSegmentKind::a: first = 6, last = 7; break;
    case PoolSegmentKind::ctx_q: first = 2, last = 5; break;
  }
  return {document_begin + range_ids[first], document_begin + range_ids[last] + 1};
}

RoutedLayer::RoutedLayer(int64_t layer, int64_t first_kv_head, const RouterConfig& config,
                         uint64_t seed, AttentionRouter& router)
    : layer_(layer),
      first_kv_head_(first_kv_head),
      rule_(config.streaming_rule()),
      pool_{config.pool == Pool::boundary, config.pool_budget, config.pool_dedup},
      noise_(config.noise == Noise::gumbel ? ops::GateNoise::gumbel : ops::GateNoise::logistic),
      detach_input_(config.detach_input),
      seed_(seed),
      router_(&router) {}

RoutedLayer::RoutedLayer(int64_t layer, int64_t first_kv_head, const RouterConfig& config,
                         std::vector<uint8_t> fixed)
    : layer_(layer),
      first_kv_head_(first_kv_head),
      rule_(config.streaming_rule()),
      detach_input_(true),
      fixed_(std::move(fixed)) {}

RoutedLayer::RoutedLayer(int64_t layer, int64_t first_kv_head, const RouterConfig& config,
                         const RandomGates& random)
    : layer_(layer),
      first_kv_head_(first_kv_head),
      rule_(config.streaming_rule()),
      detach_input_(true),
      random_(random) {}

void RoutedLayer::decide(const Tensor& keys, int64_t documents, const RouterBatch& batch,
                         SavedRoute& route) const {
  const int64_t heads = keys.size(1);
  if (router_ != nullptr) {
    const Tensor pooled = ops::boundary_pool_forward(keys, batch.segments, pool_);
    const Tensor logits = batch.sample ? router_->forward(pooled, &route.router, batch.task_ids)
                                       : router_->forward(pooled, nullptr);
    ops::GateOutput out = batch.sample
                              ? ops::gate_sample(logits, {.seed = seed_,
                                                          .step = batch.step,
                                                          .sample_keys = batch.sample_keys,
                                                          .layer = uint32_t(layer_),
                                                          .first_kv_head = uint32_t(first_kv_head_),
                                                          .noise = noise_,
                                                          .tau = temperature(batch.tau)})
                              : ops::gate_decide(logits);
    route.gate = out.gate;
    route.probability = out.probability;
    return;
  }
  std::vector<uint8_t> gates(static_cast<size_t>(documents * heads));
  for (int64_t s = 0; s < documents; ++s) {
    for (int64_t h = 0; h < heads; ++h) {
      gates[size_t(s * heads + h)] =
          fixed_.empty()
              ? random_.gate(batch.step, batch.sample_keys[size_t(s)], layer_, first_kv_head_ + h)
              : fixed_[size_t(h)];
    }
  }
  route.gate = Tensor::from(gates, {documents, heads}, keys.device());
}

void RoutedLayer::backward(const Tensor& d_gate_attention, const Tensor& d_gate_objective,
                           const RouterBatch& batch, const SavedRoute& route, Tensor* d_keys,
                           const std::function<void(Parameter&)>& on_gradient) const {
  ELASTRON_CHECK(router_ != nullptr, "no router to train in this layer");
  Tensor d_gate = d_gate_attention;
  if (d_gate_objective.defined()) d_gate = ops::add(d_gate_attention, d_gate_objective);
  const Tensor d_logits =
      ops::gate_backward(d_gate, route.probability, router_->classes(), temperature(batch.tau));
  router_->temperature_backward(d_gate, route.probability);
  const bool need_input = d_keys != nullptr && !detach_input_;
  const Tensor d_pooled = router_->backward(d_logits, route.router, need_input);
  if (need_input) {
    ops::boundary_pool_backward(d_pooled, batch.segments, pool_, *d_keys);
  }
  ParameterList parameters;
  router_->append_parameters(parameters);
  for (Parameter* p : parameters) on_gradient(*p);
}

}  // namespace elastron::router
