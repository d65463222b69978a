#include "model/decoder_layer.h"

#include <cmath>
#include <utility>

#include "core/trace.h"
#include "model/backbone_parameter.h"
#include "ops/elementwise.h"
#include "ops/rms_norm.h"
#include "ops/rms_norm_rope.h"
#include "ops/rope.h"
#include "ops/swiglu.h"

namespace elastron::model {

namespace {

std::string name_of(int64_t layer, const char* leaf) {
  return "model.layers." + std::to_string(layer) + "." + leaf + ".weight";
}

}  // namespace

DecoderLayer::DecoderLayer(int64_t layer, const ModelConfig& config, const DecoderOptions& options,
                           parallel::Communicator& tensor, Device& device)
    : layer_(layer),
      q_heads_(config.q_heads / tensor.size()),
      kv_heads_(config.kv_heads / tensor.size()),
      head_dim_(config.head_dim),
      eps_(config.rms_norm_eps),
      options_(options),
      region_(tensor, options.split_rows),
      input_norm_(replicated_weight(name_of(layer, "input_layernorm"), {config.hidden_size},
                                    options, device)),
      post_attention_norm_(replicated_weight(name_of(layer, "post_attention_layernorm"),
                                             {config.hidden_size}, options, device)),
      q_(name_of(layer, "self_attn.q_proj"), config.q_heads * head_dim_, config.hidden_size,
         options.dtype, options.train_backbone, tensor, device),
      k_(name_of(layer, "self_attn.k_proj"), config.kv_heads * head_dim_, config.hidden_size,
         options.dtype, options.train_backbone, tensor, device),
      v_(name_of(layer, "self_attn.v_proj"), config.kv_heads * head_dim_, config.hidden_size,
         options.dtype, options.train_backbone, tensor, device),
      gate_(name_of(layer, "mlp.gate_proj"), config.intermediate_size, config.hidden_size,
            options.dtype, options.train_backbone, tensor, device),
      up_(name_of(layer, "mlp.up_proj"), config.intermediate_size, config.hidden_size,
          options.dtype, options.train_backbone, tensor, device),
      o_(name_of(layer, "self_attn.o_proj"), config.hidden_size, config.q_heads * head_dim_,
         options.dtype, options.train_backbone, tensor, device),
      down_(name_of(layer, "mlp.down_proj"), config.hidden_size, config.intermediate_size,
            options.dtype, options.train_backbone, tensor, device) {
  input_norm_.gradient_partial_over_tensor = region_.split();
  post_attention_norm_.gradient_partial_over_tensor = region_.split();
  const auto all = linears();
  for (size_t i = 0; i < all.size(); ++i) {
    if (!options.repack) all[i]->use_in_place();
    if (options.lora && options.lora->adapts(kLinearNames[i])) {
      all[i]->adapt(options.lora->rank, options.lora->scale(), options.train_lora);
    }
  }
  if (!config.qk_norm) return;
  for (auto [norm, leaf] :
       {std::pair{&q_norm_, "self_attn.q_norm"}, {&k_norm_, "self_attn.k_norm"}}) {
    *norm = replicated_weight(name_of(layer, leaf), {head_dim_}, options, device);
    // Applied to the rank's own heads, so each rank sees a part of its gradient.
    (*norm)->gradient_partial_over_tensor = true;
  }
}

void DecoderLayer::append_parameters(ParameterList& list) {
  for (Parameter* p : {&input_norm_, &q_.parameter(), &k_.parameter(), &v_.parameter()}) {
    list.push_back(p);
  }
  if (q_norm_) list.insert(list.end(), {&*q_norm_, &*k_norm_});
  for (Parameter* p : {&o_.parameter(), &post_attention_norm_, &gate_.parameter(), &up_.parameter(),
                       &down_.parameter()}) {
    list.push_back(p);
  }
}

void DecoderLayer::append_adapters(ParameterList& list) {
  for (parallel::ShardedLinear* linear : linears()) {
    if (auto* adapter = linear->adapter()) {
      list.insert(list.end(), {&adapter->a, &adapter->b});
    }
  }
}

Projections DecoderLayer::project(const Tensor& x, const LayerInputs& in,
                                  router::RoutedLayer* routed, router::SavedRoute* route,
                                  AttentionExchange::Begun* begun, bool keep_normed) {
  Projections p;
  auto [own_normed, inv_rms] = ops::rms_norm_forward(x, input_norm_.value, eps_);
  p.input_norm_inv_rms = inv_rms;
  if (keep_normed) p.normed = own_normed;
  const Tensor normed = region_.enter(own_normed);
  const int64_t tokens = normed.size(0);
  p.k = k_.forward(normed).view({tokens, kv_heads_, head_dim_});
  p.v = v_.forward(normed).view({tokens, kv_heads_, head_dim_});
  if (k_norm_) {
    p.k_raw = p.k;
    auto k = ops::rms_norm_forward(p.k_raw, k_norm_->value, eps_);
    p.k = k.y;
    p.k_inv_rms = k.inv_rms;
  }
  // The router reads the keys after k_norm and before RoPE (docs/method.md, Router input); RoPE is
  // in place.
  if (routed != nullptr) {
    const TraceRange range("router");
    routed->decide(p.k, in.documents, *in.router_batch, *route);
  }
  ops::rope_apply(p.k, in.positions, in.rope_table, false);
  if (begun != nullptr) *begun = in.exchange->begin(p.k, p.v);
  p.q = q_.forward(normed).view({tokens, q_heads_, head_dim_});
  if (q_norm_) {
    p.q_raw = p.q;
    auto q = ops::rms_norm_rope_forward(p.q_raw, q_norm_->value, eps_, in.positions, in.rope_table);
    p.q = q.y;
    p.q_inv_rms = q.inv_rms;
  } else {
    ops::rope_apply(p.q, in.positions, in.rope_table, false);
  }
  if (begun != nullptr) in.exchange->begin_queries(p.q, *begun);
  return p;
}

AttentionExchange::Begun DecoderLayer::begin(const Projections& p, const LayerInputs& in) {
  auto begun = in.exchange->begin(p.k, p.v);
  in.exchange->begin_queries(p.q, begun);
  return begun;
}

AttentionExchange::Describe DecoderLayer::describe(const router::RoutedLayer& routed) const {
  return [&routed, scale = 1.0 / std::sqrt(double(head_dim_)),
          full_by = options_.full_attention](ops::RoutedAttentionInput& in) {
    in.softmax_scale = scale;
    in.full_by = full_by;
    routed.describe(in);
  };
}

Tensor DecoderLayer::attention_residual(const Tensor& x, const Tensor& attention_output) {
  const int64_t tokens = attention_output.size(0);
  Tensor y = region_.leave(o_.forward(attention_output.view({tokens, q_heads_ * head_dim_})));
  ops::add_into(y, x);
  return y;
}

GateUp DecoderLayer::gate_up(const Tensor& middle, bool keep_normed) {
  GateUp g;
  auto [own_normed, inv_rms] = ops::rms_norm_forward(middle, post_attention_norm_.value, eps_);
  g.inv_rms = inv_rms;
  const Tensor normed = region_.enter(own_normed);
  g.gate = gate_.forward(normed);
  g.up = up_.forward(normed);
  if (keep_normed) g.normed = own_normed;
  return g;
}

Tensor DecoderLayer::mlp_residual(const Tensor& middle, const GateUp& g) {
  const TraceRange range("MLP");
  Tensor y = region_.leave(down_.forward(ops::swiglu_forward(g.gate, g.up)));
  ops::add_into(y, middle);
  return y;
}

Tensor DecoderLayer::forward(const Tensor& x, const LayerInputs& in, router::RoutedLayer& routed,
                             SavedLayer* saved, Tensor& gate, Tensor& visited) {
  const TraceRange range("layer", layer_);
  router::SavedRoute local_route;
  router::SavedRoute& route = saved != nullptr ? saved->route : local_route;
  AttentionExchange::Begun begun;
  Projections p = project(x, in, &routed, &route, &begun,
                          /*keep_normed=*/saved != nullptr && trains_projections());
  gate = route.gate;
  if (in.observer != nullptr) in.observer->see(layer_, p.q, p.k);
  if (in.cache != nullptr) in.cache->fill(layer_, p.k, p.v, route.gate);

  // Under full recomputation only the output that goes on is needed now; the other branch is
  // computed in the recompute, next to its use (docs/method.md, Costs).
  const bool both =
      saved != nullptr && routed.needs_gate_gradient() && options_.recompute != Recompute::layer;
  auto attention = in.exchange->forward(begun, route.gate, describe(routed),
                                        both ? ops::Branches::both : ops::Branches::selected,
                                        /*again=*/false);
  visited = attention.visited;
  Tensor middle = attention_residual(x, in.exchange->own_rows(attention.selected));
  // What is not kept goes before the MLP needs its memory.
  if (saved != nullptr && options_.recompute == Recompute::none) {
    saved->projections = std::move(p);
  }
  p = {};
  if (saved != nullptr && options_.recompute != Recompute::layer) {
    saved->attention = std::move(attention);
    saved->middle = middle;
  }
  attention = {};
  GateUp g = gate_up(middle, /*keep_normed=*/saved != nullptr && trains_gate_up());
  Tensor out = mlp_residual(middle, g);

  if (saved != nullptr) {
    saved->input = x;
    if (options_.recompute == Recompute::none) saved->gate_up = std::move(g);
  }
  return out;
}

Tensor DecoderLayer::decode(const Tensor& x, int64_t position, const LayerInputs& in) {
  ELASTRON_CHECK(!region_.split(), "one token cannot be split over ranks");
  const Projections p = project(x, in, nullptr, nullptr, nullptr, /*keep_normed=*/false);
  in.cache->append(layer_, position, p.k, p.v);
  const Tensor attention = ops::decode_attention(
      p.q.view({q_heads_, head_dim_}), in.cache->heads(layer_), 1.0 / std::sqrt(double(head_dim_)));
  const Tensor middle = attention_residual(x, attention.view({1, q_heads_, head_dim_}));
  return mlp_residual(middle, gate_up(middle, /*keep_normed=*/false));
}

Tensor DecoderLayer::mlp_backward(const Tensor& d_out, SavedLayer& saved,
                                  const std::function<void(Parameter&)>& on_gradient) {
  const TraceRange range("MLP backward");
  const bool train = options_.train_backbone;
  if (!saved.gate_up) saved.gate_up = gate_up(saved.middle, trains_gate_up());
  const GateUp g = *std::exchange(saved.gate_up, std::nullopt);

  Tensor d_all = region_.enter(d_out);
  Tensor d_hidden = down_.backward_input(d_all);
  if (down_.trains()) {
    down_.backward_weight(d_all, ops::swiglu_forward(g.gate, g.up), on_gradient);
  }
  d_all = {};
  const auto [d_gate, d_up] = ops::swiglu_backward(d_hidden, g.gate, g.up, /*in_place=*/true);
  d_hidden = {};
  if (trains_gate_up()) {
    const Tensor normed = region_.enter(g.normed);
    if (up_.trains()) up_.backward_weight(d_up, normed, on_gradient);
    if (gate_.trains()) gate_.backward_weight(d_gate, normed, on_gradient);
  }
  Tensor d_normed = gate_.backward_input(d_gate);
  up_.backward_input(d_up, d_normed);
  d_normed = region_.leave(std::move(d_normed));
  Tensor d_middle = d_out.clone();
  ops::rms_norm_backward(d_normed, saved.middle, post_attention_norm_.value, g.inv_rms, d_middle,
                         train ? &post_attention_norm_.grad : nullptr);
  if (train) on_gradient(post_attention_norm_);
  return d_middle;
}

Tensor DecoderLayer::backward(const Tensor& d_out, const LayerInputs& in,
                              router::RoutedLayer& routed, SavedLayer& saved,
                              const Tensor& d_gate_objective, bool need_input,
                              const std::function<void(Parameter&)>& on_gradient) {
  const bool train = options_.train_backbone;
  const TraceRange range("layer backward", layer_);
  const bool need_qkv = need_input || trains_projections();
  const bool need_attention = need_qkv || routed.needs_gate_gradient();
  // Whatever was not kept is computed again from the layer's input; the gate is never redrawn.
  AttentionExchange::Begun begun;
  if (!saved.projections) {
    const bool reads = need_attention || !saved.attention;
    saved.projections =
        project(saved.input, in, nullptr, nullptr, reads ? &begun : nullptr, trains_projections());
  } else if (need_attention) {
    begun = begin(*saved.projections, in);
  }
  Projections& p = *saved.projections;
  if (!saved.attention) {
    saved.attention = in.exchange->forward(
        begun, saved.route.gate, describe(routed),
        routed.needs_gate_gradient() ? ops::Branches::both : ops::Branches::selected,
        /*again=*/need_attention);
    saved.middle =
        attention_residual(saved.input, in.exchange->own_rows(saved.attention->selected));
  }
  Tensor d_middle = mlp_backward(d_out, saved, on_gradient);

  // Attention.
  Tensor d_attended = region_.enter(d_middle);
  const int64_t tokens = d_attended.size(0);
  Tensor d_attention = o_.backward_input(d_attended).view({tokens, q_heads_, head_dim_});
  if (o_.trains()) {
    const Tensor attended = in.exchange->own_rows(saved.attention->selected);
    o_.backward_weight(d_attended, attended.view({tokens, q_heads_ * head_dim_}), on_gradient);
  }
  d_attended = {};
  if (!need_attention) return {};
  // Long sequences: what is not needed any more goes before the next products.
  p.q = p.k = p.v = {};
  auto d = in.exchange->backward(std::move(d_attention), std::move(begun), saved.route.gate,
                                 describe(routed), *std::exchange(saved.attention, std::nullopt),
                                 need_qkv, routed.needs_gate_gradient());
  if (need_qkv) {
    if (!q_norm_) ops::rope_apply(d.q, in.positions, in.rope_table, true);
    ops::rope_apply(d.k, in.positions, in.rope_table, true);
  }
  if (routed.needs_gate_gradient()) {
    // Adds the pooled keys' gradient to d.k, which is the one before RoPE by now.
    routed.backward(d.gate, d_gate_objective, *in.router_batch, saved.route,
                    need_qkv ? &d.k : nullptr, on_gradient);
  }
  if (!need_qkv) return {};

  if (q_norm_) {
    d.q = ops::rms_norm_rope_backward(d.q, p.q_raw, q_norm_->value, p.q_inv_rms, in.positions,
                                      in.rope_table, train ? &q_norm_->grad : nullptr);
    d.k = ops::rms_norm_backward(d.k, p.k_raw, k_norm_->value, p.k_inv_rms, {},
                                 train ? &k_norm_->grad : nullptr);
  }
  const Tensor dq_raw = d.q.view({tokens, q_heads_ * head_dim_});
  const Tensor dk_raw = d.k.view({tokens, kv_heads_ * head_dim_});
  const Tensor dv = d.v.view({tokens, kv_heads_ * head_dim_});
  if (train && q_norm_) {
    on_gradient(*k_norm_);
    on_gradient(*q_norm_);
  }
  if (trains_projections()) {
    const Tensor normed = region_.enter(p.normed);
    if (v_.trains()) v_.backward_weight(dv, normed, on_gradient);
    if (k_.trains()) k_.backward_weight(dk_raw, normed, on_gradient);
    if (q_.trains()) q_.backward_weight(dq_raw, normed, on_gradient);
  }
  if (!need_input) return {};
  Tensor d_input_normed = q_.backward_input(dq_raw);
  k_.backward_input(dk_raw, d_input_normed);
  v_.backward_input(dv, d_input_normed);
  d_input_normed = region_.leave(std::move(d_input_normed));
  ops::rms_norm_backward(d_input_normed, saved.input, input_norm_.value, p.input_norm_inv_rms,
                         d_middle, train ? &input_norm_.grad : nullptr);
  if (train) on_gradient(input_norm_);
  return d_middle;
}

}  // namespace elastron::model
