#include "model/decoder_layer.h"

#include <utility>

#include "core/trace.h"

namespace elastron::model {

namespace {

std::variant<Mlp, ExpertMlp> mlp_of(int64_t layer, const ModelConfig& config,
                                    const DecoderOptions& options, parallel::Communicator& tensor,
                                    Device& device) {
  if (config.has_experts(layer)) return ExpertMlp(layer, config, options, tensor, device);
  return Mlp(layer, config, options, tensor, device);
}

}  // namespace

DecoderLayer::DecoderLayer(int64_t layer, const ModelConfig& config, const DecoderOptions& options,
                           parallel::Communicator& tensor, Device& device)
    : layer_(layer),
      attention_(layer, config, options, tensor, device),
      mlp_(mlp_of(layer, config, options, tensor, device)) {}

void DecoderLayer::append_parameters(ParameterList& list) {
  attention_.append_parameters(list);
  std::visit([&](auto& mlp) { mlp.append_parameters(list); }, mlp_);
}

void DecoderLayer::append_adapters(ParameterList& list) {
  attention_.append_adapters(list);
  if (Mlp* mlp = std::get_if<Mlp>(&mlp_)) mlp->append_adapters(list);
}

LayerOutput DecoderLayer::forward(const Tensor& x, const LayerInputs& in,
                                  const router::RoutedLayer& routed, SavedLayer* saved) const {
  const TraceRange range("layer", layer_);
  LayerOutput out =
      attention_.forward(x, in, routed, saved != nullptr ? &saved->attention : nullptr);
  if (const auto* experts = std::get_if<ExpertMlp>(&mlp_)) {
    auto* kept = saved != nullptr ? &saved->mlp.emplace<SavedExpertMlp>() : nullptr;
    out.x = experts->forward(out.x, kept, &out.experts);
  } else {
    auto* kept = saved != nullptr ? &saved->mlp.emplace<SavedMlp>() : nullptr;
    out.x = std::get<Mlp>(mlp_).forward(out.x, kept);
  }
  return out;
}

Tensor DecoderLayer::decode(const Tensor& x, const LayerInputs& in) const {
  const TraceRange range("layer", layer_);
  const Tensor middle = attention_.decode(x, in);
  return std::visit([&](const auto& mlp) { return mlp.forward(middle, nullptr); }, mlp_);
}

Tensor DecoderLayer::backward(Tensor d_out, const LayerInputs& in,
                              const router::RoutedLayer& routed, const LayerBackward& want,
                              SavedLayer& saved) {
  const TraceRange range("layer backward", layer_);
  const Tensor again = attention_.recompute(in, routed, want, saved.attention);
  if (again.defined()) std::visit([&](auto& mlp) { mlp.input = again; }, saved.mlp);
  Tensor d_middle;
  if (const auto* experts = std::get_if<ExpertMlp>(&mlp_)) {
    d_middle = experts->backward(std::move(d_out), std::get<SavedExpertMlp>(saved.mlp));
  } else {
    d_middle = std::get<Mlp>(mlp_).backward(std::move(d_out), std::get<SavedMlp>(saved.mlp),
                                            want.on_gradient);
  }
  return attention_.backward(std::move(d_middle), in, routed, want, saved.attention);
}

}  // namespace elastron::model
