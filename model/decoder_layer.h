// One pre-norm transformer layer of the Qwen3 and Llama kinds: RMSNorm, grouped-query attention
// with RoPE, for Qwen3 with q/k norm, RMSNorm, SwiGLU. Explicit forward and backward; weights split
// over the tensor-parallel group (column-parallel q, k, v, gate, up; row-parallel o, down).
//
// T tokens (packed), R of them between the linears of the tensor group (all, or with split_rows
// this rank's part), E hidden_size, Hq q_heads and K kv_heads *of this rank*, D head_dim, F
// intermediate_size of this rank, S sequences, D documents where gates are meant.
#pragma once
#include <array>
#include <functional>
#include <optional>
#include <vector>

#include "core/parameter.h"
#include "model/attention_exchange.h"
#include "model/attention_observer.h"
#include "model/decoder_config.h"
#include "model/kv_cache.h"
#include "model/weights/model_config.h"
#include "ops/routed_attention.h"
#include "parallel/communicator.h"
#include "parallel/linear.h"
#include "parallel/region.h"
#include "router/routed_layer.h"

namespace elastron::model {

// What every layer of one forward pass shares.
struct LayerInputs {
  Tensor positions;                                   // [T] int32
  Tensor rope_table;                                  // ops/rope.h
  const AttentionExchange* exchange = nullptr;        // not read by decode()
  int64_t documents = 0;                              // that get a routing decision
  const router::RouterBatch* router_batch = nullptr;  // segments, sample keys, step
  KvCache* cache = nullptr;  // inference: filled by forward(), read and extended by decode()
  AttentionObserver* observer = nullptr;  // of forward()
};

// q, k, v as attention reads them, and what their backward needs.
struct Projections {
  Tensor input_norm_inv_rms;  // [R]
  Tensor normed;              // [R, E]; kept only where weight gradients need it
  // With q/k norm only: [T, Hq, D], [T, K, D] before it, and [T, Hq], [T, K].
  Tensor q_raw, k_raw, q_inv_rms, k_inv_rms;
  Tensor q, k, v;  // after norm and RoPE
};

struct GateUp {
  Tensor inv_rms;   // [R]
  Tensor normed;    // [R, E]; kept only where weight gradients need it
  Tensor gate, up;  // [T, F]
};

// What a layer keeps between its forward and its backward pass. Fields a recompute mode drops are
// undefined (see Recompute).
struct SavedLayer {
  Tensor input;                            // [R, E], all modes
  router::SavedRoute route;                // gate and router activations, all modes; small
  std::optional<Projections> projections;  // none
  std::optional<Attended> attention;       // none, selective
  Tensor middle;                           // [R, E] after attention: none, selective
  std::optional<GateUp> gate_up;           // none
};

class DecoderLayer {
 public:
  // Weights are allocated, not filled. `layer` counts from 0. `tensor` must outlive the layer.
  DecoderLayer(int64_t layer, const ModelConfig& config, const DecoderOptions& options,
               parallel::Communicator& tensor, Device& device);

  void append_parameters(ParameterList& list);
  // Those of the adapters, which are no part of the backbone.
  void append_adapters(ParameterList& list);

  // x [R, E] -> [R, E]. With `saved`, keeps what backward needs under options.recompute. The gate
  // is decided by `routed` (a router, or a fixed rule) and given back in `gate` [S, K]; `visited`:
  // ops::RoutedAttentionOutput::visited.
  Tensor forward(const Tensor& x, const LayerInputs& in, router::RoutedLayer& routed,
                 SavedLayer* saved, Tensor& gate, Tensor& visited);

  // Inference: x [1, E] of the token at `position`, which comes next after those in in.cache.
  Tensor decode(const Tensor& x, int64_t position, const LayerInputs& in);

  // d_out [R, E] -> gradient to x, or an undefined tensor when `need_input` is false (nothing
  // trainable below). d_gate_objective [S, K] is the objective's own gradient to the gate,
  // undefined without a router. Weight gradients are accumulated where trainable; `on_gradient` is
  // called with each parameter whose gradient is then complete.
  Tensor backward(const Tensor& d_out, const LayerInputs& in, router::RoutedLayer& routed,
                  SavedLayer& saved, const Tensor& d_gate_objective, bool need_input,
                  const std::function<void(Parameter&)>& on_gradient);

 private:
  static AttentionExchange::Begun begin(const Projections& p, const LayerInputs& in);
  // With `routed` the gate is decided, into `route`. With `begun` keys and values are on their way
  // to other ranks while the queries are computed.
  Projections project(const Tensor& x, const LayerInputs& in, router::RoutedLayer* routed,
                      router::SavedRoute* route, AttentionExchange::Begun* begun, bool keep_normed);
  AttentionExchange::Describe describe(const router::RoutedLayer& routed) const;
  Attended attend(AttentionExchange::Begun& begun, const Tensor& gate, const LayerInputs& in,
                  const router::RoutedLayer& routed, ops::Branches branches, bool again) const;
  Tensor attention_residual(const Tensor& x, const Tensor& attention_output);
  // -> gradient to saved.middle; frees saved.gate_up.
  Tensor mlp_backward(const Tensor& d_out, SavedLayer& saved,
                      const std::function<void(Parameter&)>& on_gradient);
  GateUp gate_up(const Tensor& middle, bool keep_normed);
  // Whether the weights that read the normed input train, and those that read the other one.
  bool trains_projections() const { return q_.trains() || k_.trains() || v_.trains(); }
  bool trains_gate_up() const { return gate_.trains() || up_.trains(); }
  // The layer's linears by their names in model/lora.h.
  std::array<parallel::ShardedLinear*, kLinearNames.size()> linears() {
    return {&q_, &k_, &v_, &o_, &gate_, &up_, &down_};
  }
  Tensor mlp_residual(const Tensor& middle, const GateUp& g);

  int64_t layer_;
  int64_t q_heads_, kv_heads_, head_dim_;
  double eps_;
  DecoderOptions options_;
  parallel::TensorRegion region_;
  Parameter input_norm_, post_attention_norm_;
  std::optional<Parameter> q_norm_, k_norm_;  // where the architecture has them
  parallel::ColumnParallelLinear q_, k_, v_, gate_, up_;
  parallel::RowParallelLinear o_, down_;
};

}  // namespace elastron::model
