// What a decoder layer asks about its gates: the decision from the keys, and the way back from the
// gate's gradient to the router and to the keys.
#pragma once
#include <functional>
#include <span>
#include <variant>
#include <vector>

#include "core/parameter.h"
#include "ops/boundary_pool.h"
#include "ops/gate.h"
#include "router/attention_router.h"
#include "router/forced_gate.h"

namespace elastron::router {

// One packed batch as the routers see it. Plain data; shared by all layers.
struct RouterBatch {
  std::vector<ops::PoolSegment> segments;  // [S] half-open, in tokens of the packed batch
  std::span<const uint32_t> sample_keys;   // [S]
  std::span<const int32_t> task_ids;       // [S]; read with router.task_embedding in training
  uint32_t step = 0;                       // optimiser step
  double tau = 1.0;     // scheduled temperature; a layer that learns its own ignores it
  bool sample = false;  // draw noise (training); otherwise decide without (spec 2.5)
};

// Half-open segment of a document from its inclusive range_ids (spec 1.3), shifted to its place in
// the batch. range_ids: 8 integers.
ops::PoolSegment pool_segment(PoolSegmentKind kind, std::span<const int64_t> range_ids,
                              int64_t document_begin);

// The decision of a layer and what its backward needs. Kept from the first forward pass even where
// everything else is recomputed, so that noise is never drawn twice. Small.
struct SavedRoute {
  Tensor gate;         // [S, K] uint8, 1 = full attention
  Tensor probability;  // [S, K] master dtype; undefined without a router
  SavedRouter router;
};

class RoutedLayer {
 public:
  // A router decides. `router` must outlive this.
  RoutedLayer(int64_t layer, int64_t first_kv_head, const RouterConfig& config, uint64_t seed,
              AttentionRouter& router);
  // The same gate for every document: [K], local heads.
  RoutedLayer(int64_t layer, int64_t first_kv_head, const RouterConfig& config,
              std::vector<uint8_t> fixed);
  // Random gates per document.
  RoutedLayer(int64_t layer, int64_t first_kv_head, const RouterConfig& config,
              const RandomGates& random);

  const ops::StreamingRule& rule() const { return rule_; }
  bool needs_gate_gradient() const { return router_ != nullptr && router_->trainable(); }
  // Before a forward pass: what decisions need of the host is read here, in no layer.
  void prepare() {
    if (router_ != nullptr) router_->read_temperature();
  }
  // The training gate's temperature in this layer.
  double temperature(double scheduled) const {
    return router_ != nullptr ? router_->temperature(scheduled) : scheduled;
  }

  // keys [T, K, D] after k_norm, before RoPE (spec 1.2); S documents.
  void decide(const Tensor& keys, int64_t documents, const RouterBatch& batch,
              SavedRoute& route) const;

  // d_gate_attention [S, K]: from the attention (spec 3.2); d_gate_objective [S, K]: from the
  // sparsity objective, or undefined. Accumulates the router's gradients and, with d_keys (before
  // RoPE), the pooled keys' gradient unless router.detach_input.
  void backward(const Tensor& d_gate_attention, const Tensor& d_gate_objective,
                const RouterBatch& batch, const SavedRoute& route, Tensor* d_keys,
                const std::function<void(Parameter&)>& on_gradient) const;

 private:
  int64_t layer_;
  int64_t first_kv_head_;
  ops::StreamingRule rule_;
  ops::PoolRule pool_;
  ops::GateNoise noise_ = ops::GateNoise::gumbel;
  bool detach_input_;
  uint64_t seed_ = 0;
  AttentionRouter* router_ = nullptr;
  std::vector<uint8_t> fixed_;
  RandomGates random_;
};

}  // namespace elastron::router
