#include "model/expert_mlp.h"

#include <utility>

#include "core/matrix_stack.h"
#include "core/trace.h"
#include "model/backbone_parameter.h"
#include "ops/elementwise.h"
#include "ops/rms_norm.h"
#include "ops/swiglu.h"
#include "parallel/shard.h"

namespace elastron::model {

ExpertMlp::Linears ExpertMlp::linears(int64_t layer, const ModelConfig& config, ExpertLinearId id,
                                      const DecoderOptions& options,
                                      const parallel::Communicator& tensor, Device& device) {
  const int64_t count = config.experts->count;
  const WeightStorage storage = matrix_storage(config, options);
  Linears all;
  Tensor values;
  WeightScale scale;
  for (int64_t e = 0; e < count; ++e) {
    const parallel::LinearShape shape = expert_shape(config, layer, e, id);
    Parameter p;
    p.name = shape.weight_name();
    p.logical_shape = {shape.out, shape.in};
    const int side = shape.split == parallel::Split::out ? 0 : 1;
    p.partition =
        parallel::even_partition(side, p.logical_shape[side], tensor.rank(), tensor.size(), p.name);
    const Shape local = local_shape(p);
    if (e == 0) {
      values = Tensor::empty({count, local[0], local[1]}, storage.dtype, device);
      if (storage.blocks) {
        scale = parallel::scale_of_part(*storage.blocks, p.partition);
        const Shape blocks = scale.shape_for(local[0], local[1]);
        scale.values = Tensor::empty({count, blocks[0], blocks[1]}, DType::f32, device);
      }
    }
    p.value = matrix_of(values, e);
    p.scale = scale;
    if (scale.defined()) p.scale.values = matrix_of(scale.values, e);
    all.parameters.push_back(std::move(p));
  }
  if (scale.defined()) {
    all.weights = {std::move(values), std::move(scale)};
  } else {
    all.weights = {std::move(values), ops::weight_form(!options.repack)};
  }
  return all;
}

ExpertMlp::ExpertMlp(int64_t layer, const ModelConfig& config, const DecoderOptions& options,
                     parallel::Communicator& tensor, Device& device)
    : eps_(config.rms_norm_eps),
      recompute_(options.recompute),
      rule_{.per_token = config.experts->per_token, .normalise = config.experts->normalise},
      experts_(config.experts->count),
      choice_form_(options.repack ? ops::WeightForm::in_place : ops::WeightForm::as_stored),
      region_(tensor, options.split_rows),
      norm_(layer_norm(config, layer, NormId::post_attention, options, device)),
      gate_(linears(layer, config, ExpertLinearId::gate, options, tensor, device)),
      up_(linears(layer, config, ExpertLinearId::up, options, tensor, device)),
      down_(linears(layer, config, ExpertLinearId::down, options, tensor, device)) {
  const NamedShape choice = expert_gate_shape(config, layer);
  choice_ = replicated_weight(choice.name, choice.shape, options, device);
}

void ExpertMlp::append_parameters(ParameterList& list) {
  list.insert(list.end(), {&norm_, &choice_});
  for (Linears* linears : {&gate_, &up_, &down_}) {
    for (Parameter& p : linears->parameters) list.push_back(&p);
  }
}

ExpertGateUp ExpertMlp::gate_up(const Tensor& x, const Tensor& experts) const {
  const TraceRange range("gate and up");
  ExpertGateUp g;
  auto [own_normed, inv_rms] = ops::rms_norm_forward(x, norm_.value, eps_);
  g.inv_rms = inv_rms;
  const Tensor normed = region_.enter(own_normed);
  g.logits = ops::linear_forward(normed, ops::LinearWeight(choice_.value, choice_form_));
  if (experts.defined()) {
    g.chosen = {experts, ops::expert_weights(g.logits, experts, rule_)};
  } else {
    g.chosen = ops::choose_experts(g.logits, rule_);
  }
  g.rows = ops::rows_by_expert(g.chosen.experts, experts_);
  const ops::RowGroups groups{g.rows.bounds, g.rows.tokens};
  g.gate = ops::grouped_linear_forward(normed, gate_.weights, groups);
  g.up = ops::grouped_linear_forward(normed, up_.weights, groups);
  return g;
}

Tensor ExpertMlp::forward(const Tensor& x, SavedExpertMlp* saved, ExpertLoad* load) const {
  ExpertGateUp g = gate_up(x, {});
  const TraceRange range("MLP");
  if (load != nullptr) *load = {.bounds = g.rows.bounds, .chosen = g.chosen.experts};
  const Tensor rows = ops::grouped_linear_forward(ops::swiglu_forward(g.gate, g.up), down_.weights,
                                                  {g.rows.bounds, {}});
  Tensor y = region_.leave(ops::sum_expert_rows(rows, g.rows, g.logits.size(0), g.chosen.weights));
  ops::add_into(y, x);
  if (saved != nullptr) {
    saved->experts = g.chosen.experts;
    if (recompute_ != Recompute::layer) saved->input = x;
    if (recompute_ == Recompute::none) saved->gate_up = std::move(g);
  }
  return y;
}

// An expert's part of a token's output is w down(h). With d the gradient to that output, down's
// gradient to h is w down^T d, and w's own is <d, down(h)> = <down^T d, h>: down(h) need not be kept.
Tensor ExpertMlp::backward(Tensor d_out, SavedExpertMlp& saved) const {
  const TraceRange range("MLP backward");
  if (!saved.gate_up) {
    const TraceRange again("again");
    saved.gate_up = gate_up(saved.input, saved.experts);
  }
  const ExpertGateUp g = *std::exchange(saved.gate_up, std::nullopt);
  saved.experts = {};

  Tensor d_all = region_.enter(d_out);
  Tensor d_hidden = ops::grouped_linear_dgrad(d_all, down_.weights, {g.rows.bounds, g.rows.tokens});
  d_all = {};
  const Tensor d_weights = ops::weigh_expert_gradient(d_hidden, ops::swiglu_forward(g.gate, g.up),
                                                      g.rows, g.chosen.weights);
  const auto [d_gate, d_up] = ops::swiglu_backward(d_hidden, g.gate, g.up, /*in_place=*/true);
  d_hidden = {};
  const ops::RowGroups groups{g.rows.bounds, {}};
  Tensor d_rows = ops::grouped_linear_dgrad(d_gate, gate_.weights, groups);
  ops::grouped_linear_dgrad(d_up, up_.weights, groups, d_rows);
  Tensor d_normed = ops::sum_expert_rows(d_rows, g.rows, g.logits.size(0));
  d_rows = {};
  ops::linear_dgrad(ops::expert_weights_backward(d_weights, g.logits, g.chosen.experts, rule_),
                    ops::LinearWeight(choice_.value, ops::WeightForm::in_place), d_normed);
  d_normed = region_.leave(std::move(d_normed));
  ops::rms_norm_backward(d_normed, saved.input, norm_.value, g.inv_rms, d_out, nullptr);
  return d_out;
}

void check_experts(const ModelConfig& config, const DecoderOptions& options) {
  if (!config.experts) return;
  if (options.train_backbone) {
    throw UsageError("the experts of a " + config.architecture + " do not train here", "model",
                     "train routers or adapters of the attention's linears beside them");
  }
  if (options.lora) check_adapters(config, *options.lora);
}

}  // namespace elastron::model
