// One pre-norm transformer layer: attention, then MLP, each with its residual. Explicit forward and
// backward; weights split over the tensor-parallel group. Sizes: model/layer_io.h.
#pragma once
#include <variant>

#include "model/attention.h"
#include "model/expert_mlp.h"
#include "model/mlp.h"

namespace elastron::model {

struct SavedLayer {
  SavedAttention attention;
  std::variant<SavedMlp, SavedExpertMlp> mlp;
};

class DecoderLayer {
 public:
  // Weights are allocated, not filled. `layer` counts from 0. `tensor` must outlive the layer.
  DecoderLayer(int64_t layer, const ModelConfig& config, const DecoderOptions& options,
               parallel::Communicator& tensor, Device& device);

  void append_parameters(ParameterList& list);
  // Those of the adapters, which are no part of the backbone.
  void append_adapters(ParameterList& list);

  // x [R, E] -> [R, E]. With `saved`, keeps what backward needs under options.recompute. `routed`
  // (a router, or a fixed rule) decides the gate.
  LayerOutput forward(const Tensor& x, const LayerInputs& in, const router::RoutedLayer& routed,
                      SavedLayer* saved) const;

  // Inference: x [B, E] of a token of each of the sequences of in.decoded, which comes next after
  // those that are there, at its place in in.positions.
  Tensor decode(const Tensor& x, const LayerInputs& in) const;

  // d_out [R, E], which is written over -> gradient to x, or an undefined tensor where it is not
  // wanted.
  Tensor backward(Tensor d_out, const LayerInputs& in, const router::RoutedLayer& routed,
                  const LayerBackward& want, SavedLayer& saved);

 private:
  int64_t layer_;
  Attention attention_;
  std::variant<Mlp, ExpertMlp> mlp_;
};

}  // namespace elastron::model
