#include "router/gate_source.h"

#include <algorithm>

#include "ops/head_groups.h"

namespace elastron::router {

namespace {

// A decision is made of the pooled rows of some heads: of one kv head's keys, of its queries' mean,
// or of the mean over all heads of the layer, on all tensor ranks (docs/method.md, Routing by layer).
class RouterGates final : public GateSource {
 public:
  RouterGates(const GatePlace& place, const RouterConfig& config, AttentionRouter& router,
              const LayerHeads& heads)
      : place_(place),
        heads_(heads),
        by_layer_(config.by_layer()),
        input_(config.input),
        pool_(config.pool_rule()),
        noise_(config.noise == Noise::gumbel ? ops::GateNoise::gumbel : ops::GateNoise::logistic),
        detach_input_(config.detach_input),
        router_(router) {
    if (by_layer_) place_.first_kv_head = 0;  // the layer's noise is named by the layer alone
  }

  bool trainable() const override { return router_.trainable(); }
  const Tensor* awaited() const override { return router_.log_tau(); }
  void arrived(double log_tau) override { router_.set_log_tau(log_tau); }
  double temperature(double scheduled) const override { return router_.temperature(scheduled); }
  RouterInput input() const override { return input_; }

  void decide(const Tensor& states, int64_t, const RouterBatch& batch,
              SavedRoute& route) const override {
    const Tensor pooled = pool(states, batch);
    const bool keep = batch.sample || batch.observer != nullptr;
    const Tensor logits =
        router_.forward(pooled, keep ? &route.router : nullptr,
                        batch.sample ? batch.task_ids : std::span<const int32_t>());
    if (batch.observer != nullptr) batch.observer->see(place_.layer, route.router);
    ops::GateOutput out;
    if (batch.sample) {
      ops::GateSampling sampling = place_.sampling(batch);
      sampling.noise = noise_;
      sampling.tau = temperature(batch.tau);
      out = ops::gate_sample(logits, sampling);
    } else {
      out = ops::gate_decide(logits);
    }
    route.gate = by_layer_ ? ops::spread_gate(out.gate, kv_heads(states)) : out.gate;
    route.probability = out.probability;
  }

  void backward(const Tensor& d_gate, const RouterBatch& batch, const SavedRoute& route,
                Tensor* d_states) override {
    const Tensor d = by_layer_ ? of_layer(d_gate) : d_gate;
    const Tensor d_logits =
        ops::gate_backward(d, route.probability, router_.classes(), temperature(batch.tau));
    router_.temperature_backward(d, route.probability);
    const bool need_input = d_states != nullptr && !detach_input_;
    const Tensor d_pooled = router_.backward(d_logits, route.router, need_input);
    if (need_input) pool_backward(d_pooled, batch, *d_states);
  }

  void append_parameters(ParameterList& list) override { router_.append_parameters(list); }

 private:
  int64_t kv_heads(const Tensor& states) const {
    return heads_.kv_heads > 0 ? heads_.kv_heads : states.size(1);
  }
  int64_t decisions(const Tensor& states) const { return by_layer_ ? 1 : kv_heads(states); }
  // Of the model, or of a kv head: the heads that one pooled row is the mean of.
  int64_t averaged(const Tensor& states) const {
    const int ranks = by_layer_ && heads_.tensor != nullptr ? heads_.tensor->size() : 1;
    return states.size(1) / decisions(states) * ranks;
  }

  // states [T, H, D] -> [S, decisions, D].
  Tensor pool(const Tensor& states, const RouterBatch& batch) const {
    const Tensor rows = batch.pooled ? batch.pooled->collect(states) : states;
    Tensor pooled = ops::boundary_pool_forward(rows, batch.segments, pool_);
    if (!by_layer_ && averaged(states) == 1) return pooled;
    Tensor mean = ops::sum_heads(pooled, decisions(states), 1 / double(averaged(states)));
    if (by_layer_) add_over_ranks(mean);
    return mean;
  }

  void pool_backward(Tensor d_pooled, const RouterBatch& batch, Tensor& d_states) const {
    if (by_layer_ || averaged(d_states) != 1) {
      d_pooled = ops::spread_over_heads(d_pooled, d_states.size(1), 1 / double(averaged(d_states)));
    }
    if (!batch.pooled) {
      ops::boundary_pool_backward(d_pooled, batch.segments, pool_, d_states);
      return;
    }
    Tensor d_rows = batch.pooled->zeros_like(d_states);
    ops::boundary_pool_backward(d_pooled, batch.segments, pool_, d_rows);
    batch.pooled->add(d_rows, d_states);
  }

  // d_gate [S, K] of the heads -> [S, 1] of the layer, whole on every rank: so are then the
  // gradients of the parameters and of the mean.
  Tensor of_layer(const Tensor& d_gate) const {
    const int64_t documents = d_gate.size(0), heads = d_gate.size(1);
    Tensor sum = ops::sum_heads(d_gate.view({documents, heads, 1}), 1, 1.0).view({documents, 1});
    add_over_ranks(sum);
    return sum;
  }
  void add_over_ranks(Tensor& t) const {
    if (heads_.tensor != nullptr) heads_.tensor->all_reduce(t, parallel::ReduceOp::sum).wait();
  }

  GatePlace place_;
  LayerHeads heads_;
  bool by_layer_;
  RouterInput input_;
  ops::PoolRule pool_;
  ops::GateNoise noise_;
  bool detach_input_;
  AttentionRouter& router_;
};

class MaskGates final : public GateSource {
 public:
  MaskGates(const GatePlace& place, StaticMask& mask) : place_(place), mask_(mask) {}

  bool trainable() const override { return mask_.trainable(); }

  void decide(const Tensor&, int64_t documents, const RouterBatch& batch,
              SavedRoute& route) const override {
    ops::GateOutput out =
        batch.sample ? mask_.sample(place_.sampling(batch)) : mask_.decide(documents);
    route.gate = out.gate;
    route.probability = out.probability;
  }

  void backward(const Tensor& d_gate, const RouterBatch&, const SavedRoute& route,
                Tensor*) override {
    mask_.backward(d_gate, route.probability);
  }

  void append_parameters(ParameterList& list) override { mask_.append_parameters(list); }

 private:
  GatePlace place_;
  StaticMask& mask_;
};

Tensor gate_table(int64_t documents, int64_t heads, Device& device,
                  const std::function<uint8_t(int64_t document, int64_t head)>& gate) {
  std::vector<uint8_t> gates;
  for (int64_t s = 0; s < documents; ++s) {
    for (int64_t h = 0; h < heads; ++h) gates.push_back(gate(s, h));
  }
  return Tensor::from(gates, {documents, heads}, device);
}

class FixedGates final : public GateSource {
 public:
  explicit FixedGates(std::vector<uint8_t> gates) : gates_(std::move(gates)) {}
  void decide(const Tensor& keys, int64_t documents, const RouterBatch&,
              SavedRoute& route) const override {
    route.gate = gate_table(documents, keys.size(1), keys.device(),
                            [&](int64_t, int64_t h) { return gates_.at(size_t(h)); });
  }

 private:
  std::vector<uint8_t> gates_;
};

class RandomGateSource final : public GateSource {
 public:
  RandomGateSource(const GatePlace& place, const RandomGates& random, bool by_layer)
      : place_(place), random_(random), by_layer_(by_layer) {}
  void decide(const Tensor& keys, int64_t documents, const RouterBatch& batch,
              SavedRoute& route) const override {
    route.gate = gate_table(documents, keys.size(1), keys.device(), [&](int64_t s, int64_t h) {
      if (!concerns(batch, size_t(s))) return uint8_t{1};
      return random_.gate(batch.step, batch.sample_keys[size_t(s)], place_.layer,
                          by_layer_ ? 0 : place_.first_kv_head + h);
    });
  }

 private:
  bool concerns(const RouterBatch& batch, size_t document) const {
    return random_.tasks.empty() ||
           std::ranges::find(random_.tasks, batch.task_ids[document]) != random_.tasks.end();
  }

  GatePlace place_;
  RandomGates random_;
  bool by_layer_;
};

}  // namespace

void GateSource::backward(const Tensor&, const RouterBatch&, const SavedRoute&, Tensor*) {
  throw LogicError("no gates to train in this layer");
}

std::unique_ptr<GateSource> gates_of_router(const GatePlace& place, const RouterConfig& config,
                                            AttentionRouter& router, const LayerHeads& heads) {
  return std::make_unique<RouterGates>(place, config, router, heads);
}

std::unique_ptr<GateSource> gates_of_mask(const GatePlace& place, StaticMask& mask) {
  return std::make_unique<MaskGates>(place, mask);
}

std::unique_ptr<GateSource> fixed_gates(std::vector<uint8_t> gates) {
  return std::make_unique<FixedGates>(std::move(gates));
}

std::unique_ptr<GateSource> random_gates(const GatePlace& place, const RandomGates& random,
                                         bool by_layer) {
  return std::make_unique<RandomGateSource>(place, random, by_layer);
}

}  // namespace elastron::router
