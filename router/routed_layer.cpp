#include "router/routed_layer.h"

#include "ops/elementwise.h"
#include "ops/gathered_read.h"

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
                         uint64_t seed, AttentionRouter& router, const LayerHeads& heads)
    : pattern_(config.head_pattern()),
      source_(gates_of_router({layer, first_kv_head, seed}, config, router, heads)) {}

RoutedLayer::RoutedLayer(int64_t layer, int64_t first_kv_head, const RouterConfig& config,
                         uint64_t seed, StaticMask& mask)
    : pattern_(config.head_pattern()), source_(gates_of_mask({layer, first_kv_head, seed}, mask)) {}

RoutedLayer::RoutedLayer(int64_t, int64_t, const RouterConfig& config, std::vector<uint8_t> fixed)
    : pattern_(config.head_pattern()), source_(fixed_gates(std::move(fixed))) {}

RoutedLayer::RoutedLayer(int64_t layer, int64_t first_kv_head, const RouterConfig& config,
                         const RandomGates& random)
    : pattern_(config.head_pattern()),
      source_(random_gates({layer, first_kv_head}, random, config.by_layer())) {}

void prepare(std::span<RoutedLayer> layers) {
  std::vector<Tensor> numbers;
  for (const RoutedLayer& layer : layers) {
    if (const Tensor* number = layer.source_->awaited()) numbers.push_back(*number);
  }
  if (numbers.empty()) return;
  ops::GatheredRead read(numbers);
  size_t next = 0;
  for (RoutedLayer& layer : layers) {
    if (layer.source_->awaited() != nullptr) layer.source_->arrived(read.doubles(next++).front());
  }
}

void RoutedLayer::backward(const Tensor& d_gate_attention, const Tensor& d_gate_objective,
                           const RouterBatch& batch, const SavedRoute& route, Tensor* d_states,
                           const std::function<void(Parameter&)>& on_gradient) const {
  Tensor d_gate = d_gate_attention;
  if (d_gate_objective.defined()) d_gate = ops::add(d_gate_attention, d_gate_objective);
  source_->backward(d_gate, batch, route, d_states);
  ParameterList parameters;
  source_->append_parameters(parameters);
  for (Parameter* p : parameters) on_gradient(*p);
}

}  // namespace elastron::router
