#include "ops/gate.h"

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/gate.h"
#include "ops/cuda/gate.h"

namespace elastron::ops {

namespace {

void check_logits(const Tensor& logits) {
  ELASTRON_CHECK(logits.rank() == 3 && (logits.size(2) == 1 || logits.size(2) == 2),
                 "gate takes [sequences, kv_heads, 1 or 2] logits");
  check_dense("gate", logits);
}

GateOutput allocate(const Tensor& logits) {
  const Shape shape{logits.size(0), logits.size(1)};
  return {Tensor::empty(shape, DType::u8, logits.device()),
          Tensor::empty(shape, logits.dtype(), logits.device())};
}

}  // namespace

GateOutput gate_sample(const Tensor& logits, const GateSampling& sampling) {
  check_logits(logits);
  const int64_t sequences = logits.size(0), heads = logits.size(1);
  ELASTRON_CHECK(int64_t(sampling.sample_keys.size()) == sequences, "gate: one key per sequence");
  ELASTRON_CHECK(sampling.tau > 0, "gate: the temperature is positive");
  ELASTRON_CHECK(sampling.layer < 1u << 16 && int64_t(sampling.first_kv_head) + heads <= 1 << 16,
                 "gate: layer and head share one coordinate of the noise");
  GateOutput out = allocate(logits);
  with_master_dtype(logits.dtype(), [&]<class A>() {
    const A* l = logits.data<A>();
    const int64_t classes = logits.size(2);
    auto* z = out.gate.data<uint8_t>();
    A* p = out.probability.data<A>();
    run_on(
        logits.device(), [&] { cpu::gate_sample<A>(l, sequences, heads, classes, sampling, z, p); },
        [&](auto stream) {
          const Tensor keys = on_device(sampling.sample_keys, logits.device());
          cuda::gate_sample<A>(l, sequences, heads, classes, sampling,
                               static_cast<const uint32_t*>(keys.raw()), z, p, stream);
        },
        [&](MetaDevice& meta) {
          meta.record(touches("gate_sample", logits, out.gate, out.probability));
          if (meta.behaves_as() == DeviceKind::cuda) on_device(sampling.sample_keys, meta);
        });
  });
  return out;
}

GateOutput gate_decide(const Tensor& logits) {
  check_logits(logits);
  GateOutput out = allocate(logits);
  with_master_dtype(logits.dtype(), [&]<class A>() {
    const A* l = logits.data<A>();
    const int64_t gates = out.gate.numel(), classes = logits.size(2);
    auto* z = out.gate.data<uint8_t>();
    A* p = out.probability.data<A>();
    run_on(
        logits.device(), [&] { cpu::gate_decide<A>(l, gates, classes, z, p); },
        [&](auto stream) { cuda::gate_decide<A>(l, gates, classes, z, p, stream); },
        [&] { return touches("gate_decide", logits, out.gate, out.probability); });
  });
  return out;
}

Tensor gate_backward(const Tensor& d_gate, const Tensor& probability, int64_t classes, double tau) {
  check_same(d_gate, probability, "gate_backward");
  ELASTRON_CHECK(d_gate.rank() == 2 && (classes == 1 || classes == 2), "gate_backward");
  check_dense("gate_backward", d_gate, probability);
  Tensor d_logits =
      Tensor::empty({d_gate.size(0), d_gate.size(1), classes}, d_gate.dtype(), d_gate.device());
  with_master_dtype(d_gate.dtype(), [&]<class A>() {
    const A *d = d_gate.data<A>(), *p = probability.data<A>();
    A* to = d_logits.data<A>();
    const int64_t gates = d_gate.numel();
    run_on(
        d_gate.device(), [&] { cpu::gate_backward<A>(d, p, gates, classes, tau, to); },
        [&](auto stream) { cuda::gate_backward<A>(d, p, gates, classes, tau, to, stream); },
        [&] { return touches("gate_backward", d_gate, probability, d_logits); });
  });
  return d_logits;
}

void gate_tau_backward(const Tensor& d_gate, const Tensor& probability, Tensor& d_log_tau) {
  check_same(d_gate, probability, "gate_tau_backward");
  ELASTRON_CHECK(d_log_tau.numel() == 1 && d_log_tau.dtype() == d_gate.dtype(),
                 "gate_tau_backward adds to one number of the gates' dtype");
  check_dense("gate_tau_backward", d_gate, probability, d_log_tau);
  with_master_dtype(d_gate.dtype(), [&]<class A>() {
    const A *d = d_gate.data<A>(), *p = probability.data<A>();
    A* sum = d_log_tau.data<A>();
    run_on(
        d_gate.device(), [&] { *sum += cpu::gate_tau_backward<A>(d, p, d_gate.numel()); },
        [&](auto stream) { cuda::gate_tau_backward<A>(d, p, d_gate.numel(), sum, stream); },
        [&] { return touches("gate_tau_backward", d_gate, probability, d_log_tau); });
  });
}

}  // namespace elastron::ops
