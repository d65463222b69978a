// A decoder layer asks here about its gates: the decision from its keys or queries, and the way back
// from the gate's gradient to what decided and to them.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "ops/routed_attention.h"
#include "router/gate_source.h"

namespace elastron::router {

// Half-open segment of a document from its inclusive range_ids (docs/method.md, Pooling), shifted
// to its place in the batch. range_ids: 8 integers.
ops::PoolSegment pool_segment(PoolSegmentKind kind, std::span<const int64_t> range_ids,
                              int64_t document_begin);

class RoutedLayer {
 public:
  // A router decides. `router`, and the group of `heads`, must outlive this.
  RoutedLayer(int64_t layer, int64_t first_kv_head, const RouterConfig& config, uint64_t seed,
              AttentionRouter& router, const LayerHeads& heads = {});
  // A mask. `mask` must outlive this.
  RoutedLayer(int64_t layer, int64_t first_kv_head, const RouterConfig& config, uint64_t seed,
              StaticMask& mask);
  // The same gate for every document: [K], local heads.
  RoutedLayer(int64_t layer, int64_t first_kv_head, const RouterConfig& config,
              std::vector<uint8_t> fixed);
  // Random gates per document.
  RoutedLayer(int64_t layer, int64_t first_kv_head, const RouterConfig& config,
              const RandomGates& random);

  // Tells the op which keys this layer's heads choose from.
  void describe(ops::RoutedAttentionInput& in) const { in.pattern = pattern_; }
  bool needs_gate_gradient() const { return source_->trainable(); }
  // The training gate's temperature in this layer.
  double temperature(double scheduled) const { return source_->temperature(scheduled); }

  // What it decides from: the `states` below.
  bool reads_queries() const { return source_->input() == RouterInput::query; }

  // states: keys [T, K, D], or queries [T, Hq, D], after their norm, before RoPE (docs/method.md,
  // Router input); S documents.
  void decide(const Tensor& states, int64_t documents, const RouterBatch& batch,
              SavedRoute& route) const {
    source_->decide(states, documents, batch, route);
  }

  // d_gate_attention [S, K]: from the attention (docs/method.md, Selected backward);
  // d_gate_objective [S, K]: from the sparsity objective, or undefined. Accumulates the gradients
  // of what decided and, of a router with d_states (before RoPE), the gradient of what was pooled
  // unless router.detach_input.
  void backward(const Tensor& d_gate_attention, const Tensor& d_gate_objective,
                const RouterBatch& batch, const SavedRoute& route, Tensor* d_states,
                const std::function<void(Parameter&)>& on_gradient) const;

 private:
  friend void prepare(std::span<RoutedLayer> layers);

  ops::HeadPattern pattern_;
  std::unique_ptr<GateSource> source_;
};

// Before a forward pass: what decisions need of the host is read here, of all layers at once.
void prepare(std::span<RoutedLayer> layers);

}  // namespace elastron::router
