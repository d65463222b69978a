#include "model/decoder_layer.h"

#include <utility>

#include "core/trace.h"

namespace elastron::model {

DecoderLayer::DecoderLayer(int64_t layer, const ModelConfig& config, const DecoderOptions& options,
                           parallel::Communicator& tensor, Device& device)
    : layer_(layer),
      attention_(layer, config, options, tensor, device),
      mlp_(layer, config, options, tensor, device) {}

void DecoderLayer::append_parameters(ParameterList& list) {
  attention_.append_parameters(list);
  mlp_.append_parameters(list);
}

void DecoderLayer::append_adapters(ParameterList& list) {
  attention_.append_adapters(list);
  mlp_.append_adapters(list);
}

LayerOutput DecoderLayer::forward(const Tensor& x, const LayerInputs& in,
                                  const router::RoutedLayer& routed, SavedLayer* saved) const {
  const TraceRange range("layer", layer_);
  LayerOutput out =
      attention_.forward(x, in, routed, saved != nullptr ? &saved->attention : nullptr);
  out.x = mlp_.forward(out.x, saved != nullptr ? &saved->mlp : nullptr);
  return out;
}

Tensor DecoderLayer::decode(const Tensor& x, const LayerInputs& in) const {
  const TraceRange range("layer", layer_);
  return mlp_.forward(attention_.decode(x, in), nullptr);
}

Tensor DecoderLayer::backward(Tensor d_out, const LayerInputs& in,
                              const router::RoutedLayer& routed, const LayerBackward& want,
                              SavedLayer& saved) {
  const TraceRange range("layer backward", layer_);
  const Tensor again = attention_.recompute(in, routed, want, saved.attention);
  if (again.defined()) saved.mlp.input = again;
  Tensor d_middle = mlp_.backward(std::move(d_out), saved.mlp, want.on_gradient);
  return attention_.backward(std::move(d_middle), in, routed, want, saved.attention);
}

}  // namespace elastron::model
