#include "model/attention.h"

#include <cmath>
#include <utility>

#include "core/trace.h"
#include "model/backbone_parameter.h"
#include "model/exchange_rows.h"
#include "ops/decode_attention.h"
#include "ops/elementwise.h"
#include "ops/rms_norm.h"
#include "ops/rms_norm_rope.h"
#include "ops/rope.h"

namespace elastron::model {

namespace {

// The heads that this one of the ranks has attention for.
void take_part_of_heads(const parallel::Communicator& ranks, Projections& p) {
  const auto part = [&](const Tensor& t) { return heads_part(t, ranks.rank(), ranks.size()); };
  const Tensor q = part(p.q), k = part(p.k), v = part(p.v);
  const auto like = [](const Tensor& t) { return Tensor::empty(t.shape(), t.dtype(), t.device()); };
  p.q = like(q);
  p.k = like(k);
  p.v = like(v);
  ops::gather_rows({q}, {}, {p.q});
  ops::gather_rows({k, v}, {}, {p.k, p.v});
}

// [B, H, D] of each rank -> [B, ranks * H, D], on every rank the same.
Tensor heads_of_all(const Tensor& part, parallel::Communicator& ranks) {
  const int64_t n = ranks.size(), rows = part.size(0);
  Tensor parts = with_rows(part, n * rows);
  ranks.all_gather(part, parts).wait();
  std::vector<Tensor> of_ranks;
  for (int64_t r = 0; r < n; ++r) of_ranks.push_back(parts.slice(0, r * rows, (r + 1) * rows));
  return side_by_side(std::move(of_ranks));
}

}  // namespace

Attention::Attention(int64_t layer, const ModelConfig& config, const DecoderOptions& options,
                     parallel::Communicator& tensor, Device& device)
    : layer_(layer),
      q_heads_(config.q_heads / tensor.size()),
      kv_heads_(config.kv_heads / tensor.size()),
      head_dim_(config.head_dim),
      eps_(config.rms_norm_eps),
      recompute_(options.recompute),
      full_by_(options.full_attention),
      region_(tensor, options.split_rows),
      norm_(layer_norm(config, layer, NormId::input, options, device)),
      q_(layer_linear(config, layer, LinearId::q, options, tensor, device)),
      k_(layer_linear(config, layer, LinearId::k, options, tensor, device)),
      v_(layer_linear(config, layer, LinearId::v, options, tensor, device)),
      o_(layer_linear(config, layer, LinearId::o, options, tensor, device)) {
  norm_.gradient_partial_over_tensor = region_.split();
  for (auto [norm, id] : {std::pair{&q_norm_, NormId::query}, {&k_norm_, NormId::key}}) {
    if (!has_norm(config, id)) continue;
    *norm = layer_norm(config, layer, id, options, device);
    // Applied to the rank's own heads, so each rank sees a part of its gradient.
    (*norm)->gradient_partial_over_tensor = true;
  }
}

void Attention::append_parameters(ParameterList& list) {
  list.push_back(&norm_);
  for (auto* linear : {&q_, &k_, &v_}) linear->append_parameters(list);
  if (q_norm_) list.insert(list.end(), {&*q_norm_, &*k_norm_});
  o_.append_parameters(list);
}

void Attention::append_adapters(ParameterList& list) {
  for (auto* linear : {&q_, &k_, &v_, &o_}) linear->append_adapter(list);
}

void Attention::project_keys(const Tensor& normed, Projections& p) const {
  const int64_t tokens = normed.size(0);
  p.k = k_.forward(normed).view({tokens, kv_heads_, head_dim_});
  p.v = v_.forward(normed).view({tokens, kv_heads_, head_dim_});
  if (!k_norm_) return;
  p.k_raw = p.k;
  auto k = ops::rms_norm_forward(p.k_raw, k_norm_->value, eps_);
  p.k = k.y;
  p.k_inv_rms = k.inv_rms;
}

void Attention::project_queries(const Tensor& normed, const LayerInputs& in, const Decide& decide,
                                bool alone, Projections& p) const {
  p.q = q_.forward(normed).view({normed.size(0), q_heads_, head_dim_});
  if (q_norm_ && alone) {
    p.q_raw = p.q;
    auto q = ops::rms_norm_forward(p.q_raw, q_norm_->value, eps_);
    p.q = q.y;
    p.q_inv_rms = q.inv_rms;
  }
  if (alone || !q_norm_) {
    if (decide) decide(p.q);
    ops::rope_apply(p.q, in.positions, in.rope_table, false);
    return;
  }
  p.q_raw = p.q;
  auto q = ops::rms_norm_rope_forward(p.q_raw, q_norm_->value, eps_, in.positions, in.rope_table);
  p.q = q.y;
  p.q_inv_rms = q.inv_rms;
}

Projections Attention::project(const Tensor& x, const LayerInputs& in, bool queries_alone,
                               const Decide& decide, AttentionExchange::Begun* begun,
                               bool keep_normed) const {
  const TraceRange range("projections");
  Projections p;
  auto [own_normed, inv_rms] = ops::rms_norm_forward(x, norm_.value, eps_);
  p.input_norm_inv_rms = inv_rms;
  if (keep_normed) p.normed = own_normed;
  const Tensor normed = region_.enter(own_normed);
  project_keys(normed, p);
  // Before RoPE, which is in place: what a router pools must not depend on positions (docs/method.md,
  // Router input).
  if (decide && !queries_alone) decide(p.k);
  ops::rope_apply(p.k, in.positions, in.rope_table, false);
  if (begun != nullptr) *begun = in.exchange->begin(p.k, p.v);
  project_queries(normed, in, queries_alone ? decide : Decide(), queries_alone, p);
  if (begun != nullptr) in.exchange->begin_queries(p.q, *begun);
  return p;
}

AttentionExchange::Describe Attention::describe(const router::RoutedLayer& routed) const {
  return [&routed, scale = 1.0 / std::sqrt(double(head_dim_)),
          full_by = full_by_](ops::RoutedAttentionInput& in) {
    in.softmax_scale = scale;
    in.full_by = full_by;
    routed.describe(in);
  };
}

Attended Attention::attend(AttentionExchange::Begun& begun, const Tensor& gate,
                           const LayerInputs& in, const router::RoutedLayer& routed,
                           ops::Branches branches, bool again) const {
  const TraceRange range("attention");
  return in.exchange->forward(begun, gate, describe(routed), branches, again);
}

Tensor Attention::residual(const Tensor& x, const Tensor& rows) const {
  const TraceRange range("attention output");
  Tensor y = region_.leave(o_.forward(rows.view({rows.size(0), q_heads_ * head_dim_})));
  ops::add_into(y, x);
  return y;
}

LayerOutput Attention::forward(const Tensor& x, const LayerInputs& in,
                               const router::RoutedLayer& routed, SavedAttention* saved) const {
  router::SavedRoute local_route;
  router::SavedRoute& route = saved != nullptr ? saved->route : local_route;
  const auto decide = [&](const Tensor& states) {
    const TraceRange range("router");
    routed.decide(states, in.documents, *in.router_batch, route);
  };
  AttentionExchange::Begun begun;
  Projections p = project(x, in, routed.reads_queries(), decide, &begun,
                          /*keep_normed=*/saved != nullptr && reads_trained_weights());
  if (in.observer != nullptr) in.observer->see(layer_, p.q, p.k);
  if (in.cache != nullptr) in.cache->fill(layer_, p.k, p.v, route.gate);

  // Where the layer is computed again anyway only the output that goes on is needed now; the other
  // branch is computed then, next to its use (docs/method.md, Costs).
  const bool both =
      saved != nullptr && routed.needs_gate_gradient() && recompute_ != Recompute::layer;
  auto attended = attend(begun, route.gate, in, routed,
                         both ? ops::Branches::both : ops::Branches::selected, /*again=*/false);
  LayerOutput out{.x = residual(x, in.exchange->own_rows(attended)),
                  .gate = route.gate,
                  .visited = attended.visited};
  if (saved != nullptr) {
    saved->input = x;
    if (recompute_ == Recompute::none) saved->projections = std::move(p);
    if (recompute_ != Recompute::layer) saved->attended = std::move(attended);
  }
  return out;
}

Tensor Attention::decode(const Tensor& x, const LayerInputs& in) const {
  ELASTRON_CHECK(!region_.split(), "tokens of single sequences are not split over ranks");
  Projections p = project(x, in, /*queries_alone=*/false, {}, nullptr, /*keep_normed=*/false);
  parallel::Communicator* const heads_over = in.decoded->heads_over();
  if (heads_over != nullptr) take_part_of_heads(*heads_over, p);
  const ops::CachedLayer& cached = in.decoded->layer(layer_);
  ops::append_to_cache(p.k, p.v, in.positions, cached);
  const Tensor rows =
      ops::decode_attention(p.q, cached, in.positions, 1.0 / std::sqrt(double(head_dim_)));
  return residual(x, heads_over != nullptr ? heads_of_all(rows, *heads_over) : rows);
}

Tensor Attention::recompute(const LayerInputs& in, const router::RoutedLayer& routed,
                            const LayerBackward& want, SavedAttention& saved) const {
  const bool needed = need_attention(routed, want);
  if (!saved.projections) {
    const TraceRange again("again");
    const bool reads = needed || !saved.attended;
    saved.projections = project(saved.input, in, routed.reads_queries(), {},
                                reads ? &saved.begun : nullptr, reads_trained_weights());
  } else if (needed) {
    saved.begun = in.exchange->begin(saved.projections->k, saved.projections->v);
    in.exchange->begin_queries(saved.projections->q, saved.begun);
  }
  if (saved.attended) return {};
  const TraceRange again("again");
  saved.attended =
      attend(saved.begun, saved.route.gate, in, routed,
             routed.needs_gate_gradient() ? ops::Branches::both : ops::Branches::selected,
             /*again=*/needed);
  return residual(saved.input, in.exchange->own_rows(*saved.attended));
}

Tensor Attention::backward(Tensor d_out, const LayerInputs& in, const router::RoutedLayer& routed,
                           const LayerBackward& want, SavedAttention& saved) {
  Tensor d_rows = output_backward(d_out, in, saved, want.on_gradient);
  if (!need_attention(routed, want)) return {};
  auto d = attended_backward(std::move(d_rows), in, routed, want, saved);
  if (!need_qkv(want)) return {};
  head_norms_backward(in, *saved.projections, routed.reads_queries(), want.on_gradient, d);
  const int64_t tokens = d.q.size(0);
  return projections_backward(
      d.q.view({tokens, q_heads_ * head_dim_}), d.k.view({tokens, kv_heads_ * head_dim_}),
      d.v.view({tokens, kv_heads_ * head_dim_}), std::move(d_out), want, saved);
}

Tensor Attention::output_backward(const Tensor& d_out, const LayerInputs& in,
                                  const SavedAttention& saved,
                                  const parallel::GradientSink& on_gradient) {
  const Tensor d_all = region_.enter(d_out);
  const int64_t tokens = d_all.size(0);
  Tensor d_rows = o_.backward_input(d_all).view({tokens, q_heads_, head_dim_});
  if (o_.trains()) {
    const Tensor rows = in.exchange->own_rows(*saved.attended);
    o_.backward_weight(d_all, rows.view({tokens, q_heads_ * head_dim_}), on_gradient);
  }
  return d_rows;
}

ops::RoutedAttentionGradient Attention::attended_backward(Tensor d_rows, const LayerInputs& in,
                                                          const router::RoutedLayer& routed,
                                                          const LayerBackward& want,
                                                          SavedAttention& saved) const {
  const bool qkv = need_qkv(want), gate = routed.needs_gate_gradient();
  // Long sequences: what is not needed any more goes before the next products.
  Projections& p = *saved.projections;
  p.q = p.k = p.v = {};
  auto d = in.exchange->backward(std::move(d_rows), std::move(saved.begun), saved.route.gate,
                                 describe(routed), *std::exchange(saved.attended, std::nullopt),
                                 qkv, gate);
  if (qkv) {
    // With a norm the queries' rotation is undone together with it, unless something comes between.
    if (!q_norm_ || routed.reads_queries()) ops::rope_apply(d.q, in.positions, in.rope_table, true);
    ops::rope_apply(d.k, in.positions, in.rope_table, true);
  }
  if (gate) {
    const TraceRange range("router");
    // Adds the gradient of what was pooled to d.k or d.q, which is the one before RoPE by now.
    Tensor& d_states = routed.reads_queries() ? d.q : d.k;
    routed.backward(d.gate, want.d_gate_objective, *in.router_batch, saved.route,
                    qkv ? &d_states : nullptr, want.on_gradient);
  }
  return d;
}

void Attention::head_norms_backward(const LayerInputs& in, const Projections& p, bool queries_alone,
                                    const parallel::GradientSink& on_gradient,
                                    ops::RoutedAttentionGradient& d) {
  if (!q_norm_) return;
  if (queries_alone) {
    d.q = ops::rms_norm_backward(d.q, p.q_raw, q_norm_->value, p.q_inv_rms, {},
                                 gradient_of(*q_norm_));
  } else {
    d.q = ops::rms_norm_rope_backward(d.q, p.q_raw, q_norm_->value, p.q_inv_rms, in.positions,
                                      in.rope_table, gradient_of(*q_norm_));
  }
  d.k =
      ops::rms_norm_backward(d.k, p.k_raw, k_norm_->value, p.k_inv_rms, {}, gradient_of(*k_norm_));
  if (!q_norm_->trainable) return;
  on_gradient(*k_norm_);
  on_gradient(*q_norm_);
}

Tensor Attention::projections_backward(const Tensor& dq, const Tensor& dk, const Tensor& dv,
                                       Tensor d_out, const LayerBackward& want,
                                       const SavedAttention& saved) {
  const Projections& p = *saved.projections;
  if (reads_trained_weights()) {
    const Tensor normed = region_.enter(p.normed);
    if (v_.trains()) v_.backward_weight(dv, normed, want.on_gradient);
    if (k_.trains()) k_.backward_weight(dk, normed, want.on_gradient);
    if (q_.trains()) q_.backward_weight(dq, normed, want.on_gradient);
  }
  if (!want.need_input) return {};
  Tensor d_normed = q_.backward_input(dq);
  k_.backward_input(dk, d_normed);
  v_.backward_input(dv, d_normed);
  d_normed = region_.leave(std::move(d_normed));
  ops::rms_norm_backward(d_normed, saved.input, norm_.value, p.input_norm_inv_rms, d_out,
                         gradient_of(norm_));
  if (norm_.trainable) want.on_gradient(norm_);
  return d_out;
}

}  // namespace elastron::model
