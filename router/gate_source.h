// Sources that decide the gates of a layer: an AttentionRouter from keys or queries, a StaticMask, fixed
// gates, or random ones. RoutedLayer is how a decoder layer sees any of them.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/parameter.h"
#include "ops/boundary_pool.h"
#include "ops/gate.h"
#include "router/attention_router.h"
#include "router/forced_gate.h"
#include "router/pooled_rows.h"
#include "router/static_mask.h"

namespace elastron::router {

// Sees what the routers of a forward pass compute.
class RouterObserver {
 public:
  virtual ~RouterObserver() = default;
  // What a layer's networks read and give, for [S, K] documents and decisions; a layer whose gates
  // no router decides is not seen.
  virtual void see(int64_t layer, const SavedRouter& networks) = 0;
};

// One packed batch as the routers see it. Plain data; shared by all layers.
struct RouterBatch {
  std::vector<ops::PoolSegment> segments;  // [S] half-open, in the rows that are pooled
  // Where these are not the rows that this rank has.
  std::shared_ptr<const PooledRows> pooled;
  std::span<const uint32_t> sample_keys;  // [S]
  std::span<const int32_t> task_ids;      // [S]; read with router.task_embedding in training
  uint32_t step = 0;                      // optimiser step
  double tau = 1.0;     // scheduled temperature; a layer that learns its own ignores it
  bool sample = false;  // draw noise (training); otherwise decide without (docs/method.md, Decision
                        // without noise)
  RouterObserver* observer = nullptr;  // of every decision of this batch
};

// The decision of a layer and what its backward needs. Kept from the first forward pass even where
// everything else is recomputed, so that noise is never drawn twice. Small.
struct SavedRoute {
  Tensor gate;  // [S, K] uint8, 1 = full attention
  // [S, K], or [S, 1] of a router by layer; master dtype. Undefined where nothing can be trained.
  Tensor probability;
  SavedRouter router;
};

// The heads of a layer that one decision, or one pooled vector, may be made of.
struct LayerHeads {
  int64_t kv_heads = 0;                      // of this rank; 0: as many as are pooled
  parallel::Communicator* tensor = nullptr;  // who has the others; null: there are none
};

// Where in the model it decides, and what names its noise.
struct GatePlace {
  int64_t layer = 0;
  int64_t first_kv_head = 0;  // global index of this rank's first
  uint64_t seed = 0;

  ops::GateSampling sampling(const RouterBatch& batch) const {
    return {.seed = seed,
            .step = batch.step,
            .sample_keys = batch.sample_keys,
            .layer = uint32_t(layer),
            .first_kv_head = uint32_t(first_kv_head)};
  }
};

class GateSource {
 public:
  virtual ~GateSource() = default;
  virtual bool trainable() const { return false; }
  // A number [1] of the device that the host must know before a forward pass, or null; and its
  // value. Those of all layers are read at once (router/routed_layer.h).
  virtual const Tensor* awaited() const { return nullptr; }
  virtual void arrived(double) {}
  virtual double temperature(double scheduled) const { return scheduled; }
  // What decide() reads: keys, or queries.
  virtual RouterInput input() const { return RouterInput::key; }
  // states: keys [T, K, D], or queries [T, Hq, D], after their norm, before RoPE (docs/method.md,
  // Router input); S documents. Collective over the tensor group where a layer decides as one.
  virtual void decide(const Tensor& states, int64_t documents, const RouterBatch& batch,
                      SavedRoute& route) const = 0;
  // d_gate [S, K]: accumulates the parameters' gradients and, with d_states, adds those of what was
  // pooled. Only trainable ones have it. Collective as decide() is.
  virtual void backward(const Tensor& d_gate, const RouterBatch& batch, const SavedRoute& route,
                        Tensor* d_states);
  virtual void append_parameters(ParameterList&) {}
};

// `router` and `mask` must outlive the source.
std::unique_ptr<GateSource> gates_of_router(const GatePlace& place, const RouterConfig& config,
                                            AttentionRouter& router, const LayerHeads& heads);
std::unique_ptr<GateSource> gates_of_mask(const GatePlace& place, StaticMask& mask);
// The same gate for every document: [K], local heads.
std::unique_ptr<GateSource> fixed_gates(std::vector<uint8_t> gates);
// by_layer: all kv heads of a layer alike.
std::unique_ptr<GateSource> random_gates(const GatePlace& place, const RandomGates& random,
                                         bool by_layer);

}  // namespace elastron::router
