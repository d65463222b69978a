#include "model/mlp.h"

#include <utility>

#include "core/trace.h"
#include "model/backbone_parameter.h"
#include "ops/elementwise.h"
#include "ops/rms_norm.h"
#include "ops/swiglu.h"

namespace elastron::model {

Mlp::Mlp(int64_t layer, const ModelConfig& config, const DecoderOptions& options,
         parallel::Communicator& tensor, Device& device)
    : eps_(config.rms_norm_eps),
      recompute_(options.recompute),
      region_(tensor, options.split_rows),
      norm_(layer_norm(config, layer, NormId::post_attention, options, device)),
      gate_(layer_linear(config, layer, LinearId::gate, options, tensor, device)),
      up_(layer_linear(config, layer, LinearId::up, options, tensor, device)),
      down_(layer_linear(config, layer, LinearId::down, options, tensor, device)) {
  norm_.gradient_partial_over_tensor = region_.split();
}

void Mlp::append_parameters(ParameterList& list) {
  list.push_back(&norm_);
  for (auto* linear : {&gate_, &up_, &down_}) linear->append_parameters(list);
}

void Mlp::append_adapters(ParameterList& list) {
  for (auto* linear : {&gate_, &up_, &down_}) linear->append_adapter(list);
}

GateUp Mlp::gate_up(const Tensor& x, bool keep_normed) const {
  const TraceRange range("gate and up");
  GateUp g;
  auto [own_normed, inv_rms] = ops::rms_norm_forward(x, norm_.value, eps_);
  g.inv_rms = inv_rms;
  const Tensor normed = region_.enter(own_normed);
  g.gate = gate_.forward(normed);
  g.up = up_.forward(normed);
  if (keep_normed) g.normed = own_normed;
  return g;
}

Tensor Mlp::forward(const Tensor& x, SavedMlp* saved) const {
  GateUp g = gate_up(x, /*keep_normed=*/saved != nullptr && reads_trained_weights());
  const TraceRange range("MLP");
  Tensor y = region_.leave(down_.forward(ops::swiglu_forward(g.gate, g.up)));
  ops::add_into(y, x);
  if (saved != nullptr) {
    if (recompute_ != Recompute::layer) saved->input = x;
    if (recompute_ == Recompute::none) saved->gate_up = std::move(g);
  }
  return y;
}

Tensor Mlp::backward(Tensor d_out, SavedMlp& saved, const parallel::GradientSink& on_gradient) {
  const TraceRange range("MLP backward");
  if (!saved.gate_up) {
    const TraceRange again("again");
    saved.gate_up = gate_up(saved.input, reads_trained_weights());
  }
  const GateUp g = *std::exchange(saved.gate_up, std::nullopt);

  Tensor d_all = region_.enter(d_out);
  Tensor d_hidden = down_.backward_input(d_all);
  if (down_.trains()) {
    down_.backward_weight(d_all, ops::swiglu_forward(g.gate, g.up), on_gradient);
  }
  d_all = {};
  const auto [d_gate, d_up] = ops::swiglu_backward(d_hidden, g.gate, g.up, /*in_place=*/true);
  d_hidden = {};
  if (reads_trained_weights()) {
    const Tensor normed = region_.enter(g.normed);
    if (up_.trains()) up_.backward_weight(d_up, normed, on_gradient);
    if (gate_.trains()) gate_.backward_weight(d_gate, normed, on_gradient);
  }
  Tensor d_normed = gate_.backward_input(d_gate);
  up_.backward_input(d_up, d_normed);
  d_normed = region_.leave(std::move(d_normed));
  ops::rms_norm_backward(d_normed, saved.input, norm_.value, g.inv_rms, d_out, gradient_of(norm_));
  if (norm_.trainable) on_gradient(norm_);
  return d_out;
}

}  // namespace elastron::model
