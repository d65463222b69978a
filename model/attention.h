// The first block of a decoder layer: x + o(attention of q, k and v of RMSNorm(x)). Grouped-query
// attention with RoPE, for some families with RMSNorm over the head_dim of queries and keys or with
// biases on q, k and v. Which keys a head sees is decided by the layer's router, from the keys or
// queries as they are before RoPE. q, k and v are split by their outputs (heads), o by its inputs. Sizes:
// model/layer_io.h.
#pragma once
#include <functional>
#include <optional>

#include "model/decoder_config.h"
#include "model/layer_io.h"
#include "parallel/region.h"

namespace elastron::model {

// q, k, v as attention reads them, and what their backward needs.
struct Projections {
  Tensor input_norm_inv_rms;  // [R]
  Tensor normed;              // [R, E]; kept only where weight gradients need it
  // With q/k norm only: [T, Hq, D], [T, K, D] before it, and [T, Hq], [T, K].
  Tensor q_raw, k_raw, q_inv_rms, k_inv_rms;
  Tensor q, k, v;  // after norm and RoPE
};

// Kept between forward and backward. Fields that a recompute mode drops are undefined.
struct SavedAttention {
  Tensor input;                            // [R, E], all modes
  router::SavedRoute route;                // gate and router activations, all modes; small
  std::optional<Projections> projections;  // Recompute::none
  std::optional<Attended> attended;        // Recompute::none and selective
  AttentionExchange::Begun begun;          // from recompute() to backward()
};

class Attention {
 public:
  // Weights are allocated, not filled. `layer` counts from 0. `tensor` must outlive the block.
  Attention(int64_t layer, const ModelConfig& config, const DecoderOptions& options,
            parallel::Communicator& tensor, Device& device);

  void append_parameters(ParameterList& list);
  void append_adapters(ParameterList& list);

  // x [R, E] -> the block's output, with what the layer's gates were. With `saved`, keeps what
  // backward needs under options.recompute. The gate is decided by `routed` (a router, or a fixed
  // rule).
  LayerOutput forward(const Tensor& x, const LayerInputs& in, const router::RoutedLayer& routed,
                      SavedAttention* saved) const;

  // Inference: x [B, E] of a token of each of the sequences of in.decoded, which comes next after
  // those that are there, at its place in in.positions.
  Tensor decode(const Tensor& x, const LayerInputs& in) const;

  // First part of the backward pass: computes again what forward() did not keep, with the gate as
  // it was, and has the rows that backward() reads leave the other ranks. -> the block's output
  // where attention itself was computed again, else an undefined tensor.
  Tensor recompute(const LayerInputs& in, const router::RoutedLayer& routed,
                   const LayerBackward& want, SavedAttention& saved) const;
  // d_out [R, E], which is overwritten -> gradient to x, or an undefined tensor where it is not
  // wanted.
  Tensor backward(Tensor d_out, const LayerInputs& in, const router::RoutedLayer& routed,
                  const LayerBackward& want, SavedAttention& saved);

 private:
  using Decide = std::function<void(const Tensor& states)>;
  // Without `decide` no gate is decided. `queries_alone`: theirs is a norm without RoPE first, for a
  // router that reads them then. With `begun` keys and values are on their way to other ranks while
  // the queries are computed.
  Projections project(const Tensor& x, const LayerInputs& in, bool queries_alone,
                      const Decide& decide, AttentionExchange::Begun* begun,
                      bool keep_normed) const;
  void project_keys(const Tensor& normed, Projections& p) const;
  void project_queries(const Tensor& normed, const LayerInputs& in, const Decide& decide,
                       bool alone, Projections& p) const;
  AttentionExchange::Describe describe(const router::RoutedLayer& routed) const;
  // x + o(rows).
  Attended attend(AttentionExchange::Begun& begun, const Tensor& gate, const LayerInputs& in,
                  const router::RoutedLayer& routed, ops::Branches branches, bool again) const;
  Tensor residual(const Tensor& x, const Tensor& rows) const;

  // -> gradient to attention's output [T, Hq, D].
  Tensor output_backward(const Tensor& d_out, const LayerInputs& in, const SavedAttention& saved,
                         const parallel::GradientSink& on_gradient);
  // -> gradients to q, k and v before RoPE, as far as need_qkv(). Frees saved.attended.
  ops::RoutedAttentionGradient attended_backward(Tensor d_rows, const LayerInputs& in,
                                                 const router::RoutedLayer& routed,
                                                 const LayerBackward& want,
                                                 SavedAttention& saved) const;
  // `queries_alone`: d.q is before RoPE already.
  void head_norms_backward(const LayerInputs& in, const Projections& p, bool queries_alone,
                           const parallel::GradientSink& on_gradient,
                           ops::RoutedAttentionGradient& d);
  // d: [T, features of this rank] each. -> d_out with the gradient to x added, or undefined.
  Tensor projections_backward(const Tensor& dq, const Tensor& dk, const Tensor& dv, Tensor d_out,
                              const LayerBackward& want, const SavedAttention& saved);

  bool reads_trained_weights() const { return q_.trains() || k_.trains() || v_.trains(); }
  bool need_qkv(const LayerBackward& want) const {
    return want.need_input || reads_trained_weights();
  }
  bool need_attention(const router::RoutedLayer& routed, const LayerBackward& want) const {
    return need_qkv(want) || routed.needs_gate_gradient();
  }

  int64_t layer_;
  int64_t q_heads_, kv_heads_, head_dim_;  // of this rank
  double eps_;
  Recompute recompute_;
  ops::FullAttentionBy full_by_;
  parallel::TensorRegion region_;
  Parameter norm_;
  std::optional<Parameter> q_norm_, k_norm_;  // both or neither, by the family
  parallel::ShardedLinear q_, k_, v_, o_;
};

}  // namespace elastron::model
