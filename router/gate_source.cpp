#include "router/gate_source.h"

namespace elastron::router {

namespace {

class RouterGates final : public GateSource {
 public:
  RouterGates(const GatePlace& place, const RouterConfig& config, AttentionRouter& router)
      : place_(place),
        pool_(config.pool_rule()),
        noise_(config.noise == Noise::gumbel ? ops::GateNoise::gumbel : ops::GateNoise::logistic),
        detach_input_(config.detach_input),
        router_(router) {}

  bool trainable() const override { return router_.trainable(); }
  const Tensor* awaited() const override { return router_.log_tau(); }
  void arrived(double log_tau) override { router_.set_log_tau(log_tau); }
  double temperature(double scheduled) const override { return router_.temperature(scheduled); }

  void decide(const Tensor& keys, int64_t, const RouterBatch& batch,
              SavedRoute& route) const override {
    const Tensor rows = batch.pooled ? batch.pooled->collect(keys) : keys;
    const Tensor pooled = ops::boundary_pool_forward(rows, batch.segments, pool_);
    const Tensor logits = batch.sample ? router_.forward(pooled, &route.router, batch.task_ids)
                                       : router_.forward(pooled, nullptr);
    ops::GateOutput out;
    if (batch.sample) {
      ops::GateSampling sampling = place_.sampling(batch);
      sampling.noise = noise_;
      sampling.tau = temperature(batch.tau);
      out = ops::gate_sample(logits, sampling);
    } else {
      out = ops::gate_decide(logits);
    }
    route.gate = out.gate;
    route.probability = out.probability;
  }

  void backward(const Tensor& d_gate, const RouterBatch& batch, const SavedRoute& route,
                Tensor* d_keys) override {
    const Tensor d_logits =
        ops::gate_backward(d_gate, route.probability, router_.classes(), temperature(batch.tau));
    router_.temperature_backward(d_gate, route.probability);
    const bool need_input = d_keys != nullptr && !detach_input_;
    const Tensor d_pooled = router_.backward(d_logits, route.router, need_input);
    if (!need_input) return;
    if (!batch.pooled) {
      ops::boundary_pool_backward(d_pooled, batch.segments, pool_, *d_keys);
      return;
    }
    Tensor d_rows = batch.pooled->zeros_like(*d_keys);
    ops::boundary_pool_backward(d_pooled, batch.segments, pool_, d_rows);
    batch.pooled->add(d_rows, *d_keys);
  }

  void append_parameters(ParameterList& list) override { router_.append_parameters(list); }

 private:
  GatePlace place_;
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
  RandomGateSource(const GatePlace& place, const RandomGates& random)
      : place_(place), random_(random) {}
  void decide(const Tensor& keys, int64_t documents, const RouterBatch& batch,
              SavedRoute& route) const override {
    route.gate = gate_table(documents, keys.size(1), keys.device(), [&](int64_t s, int64_t h) {
      return random_.gate(batch.step, batch.sample_keys[size_t(s)], place_.layer,
                          place_.first_kv_head + h);
    });
  }

 private:
  GatePlace place_;
  RandomGates random_;
};

}  // namespace

void GateSource::backward(const Tensor&, const RouterBatch&, const SavedRoute&, Tensor*) {
  throw LogicError("no gates to train in this layer");
}

std::unique_ptr<GateSource> gates_of_router(const GatePlace& place, const RouterConfig& config,
                                            AttentionRouter& router) {
  return std::make_unique<RouterGates>(place, config, router);
}

std::unique_ptr<GateSource> gates_of_mask(const GatePlace& place, StaticMask& mask) {
  return std::make_unique<MaskGates>(place, mask);
}

std::unique_ptr<GateSource> fixed_gates(std::vector<uint8_t> gates) {
  return std::make_unique<FixedGates>(std::move(gates));
}

std::unique_ptr<GateSource> random_gates(const GatePlace& place, const RandomGates& random) {
  return std::make_unique<RandomGateSource>(place, random);
}

}  // namespace elastron::router
