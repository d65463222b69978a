// The arguments and results of a decoder layer and its blocks.
//
// T tokens (packed), R of them between the linears of the tensor group (all, or with split_rows
// this rank's part), E hidden_size, Hq q_heads and K kv_heads *of this rank*, D head_dim, F
// intermediate_size of this rank, S sequences, or documents where gates are meant.
#pragma once
#include "model/attention_exchange.h"
#include "model/attention_observer.h"
#include "model/kv_cache.h"
#include "parallel/linear.h"
#include "router/routed_layer.h"

namespace elastron::model {

// The same for every layer of one pass.
struct LayerInputs {
  Tensor positions;                                   // [T] int32
  Tensor rope_table;                                  // ops/rope.h
  const AttentionExchange* exchange = nullptr;        // not read by decode()
  int64_t documents = 0;                              // that get a routing decision
  const router::RouterBatch* router_batch = nullptr;  // segments, sample keys, step
  KvCache* cache = nullptr;                           // inference: filled by forward()
  const KvBatch* decoded = nullptr;                   // read and extended by decode()
  AttentionObserver* observer = nullptr;              // of forward()
};

// Where a layer's tokens went; undefined without experts.
struct ExpertLoad {
  Tensor bounds;  // [experts + 1] int32: ops::ExpertRows::bounds
  Tensor chosen;  // [T, k] int32: ops::ExpertChoice::experts
};

struct LayerOutput {
  Tensor x;        // [R, E]
  Tensor gate;     // [S, K] uint8, of documents
  Tensor visited;  // [S, K] int64, of sequences: ops::RoutedAttentionOutput::visited
  ExpertLoad experts;
};

// Says what a layer's backward pass is asked for.
struct LayerBackward {
  // [S, K] the objective's own gradient to the gate; undefined without a router.
  Tensor d_gate_objective;
  // Whether the gradient to the layer's input is wanted: not where nothing below it trains.
  bool need_input = true;
  // Weight gradients are accumulated where trainable; called with each parameter whose gradient is
  // then complete.
  const parallel::GradientSink& on_gradient;
};

}  // namespace elastron::model
