#include "ops/hard_concrete.h"

#include <cmath>

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/hard_concrete.h"
#include "ops/cuda/hard_concrete.h"

namespace elastron::ops {

namespace {

// sample_keys empty: no noise.
GateOutput forward(const Tensor& log_alpha, const HardConcrete& rule, int64_t sequences,
                   const GateSampling& sampling) {
  ELASTRON_CHECK(log_alpha.rank() == 1, "hard_concrete takes [kv_heads] log-alphas");
  check_dense("hard_concrete", log_alpha);
  const int64_t heads = log_alpha.size(0);
  const Shape shape{sequences, heads};
  GateOutput out{Tensor::empty(shape, DType::u8, log_alpha.device()),
                 Tensor::empty(shape, log_alpha.dtype(), log_alpha.device())};
  const bool noisy = !sampling.sample_keys.empty();
  with_master_dtype(log_alpha.dtype(), [&]<class A>() {
    const auto numbers = detail::HardConcreteNumbers<A>::of(rule);
    const A* from = log_alpha.data<A>();
    auto* z = out.gate.data<uint8_t>();
    A* v = out.probability.data<A>();
    run_on(
        log_alpha.device(),
        [&] {
          cpu::hard_concrete_forward<A>(from, sequences, heads, numbers, sampling,
                                        noisy ? sampling.sample_keys.data() : nullptr, z, v);
        },
        [&](auto stream) {
          const Tensor keys = on_device(sampling.sample_keys, log_alpha.device());
          cuda::hard_concrete_forward<A>(from, sequences, heads, numbers, sampling,
                                         noisy ? static_cast<const uint32_t*>(keys.raw()) : nullptr,
                                         z, v, stream);
        },
        [&](MetaDevice& meta) {
          meta.record(touches("hard_concrete", log_alpha, out.gate, out.probability));
          if (meta.behaves_as() == DeviceKind::cuda) on_device(sampling.sample_keys, meta);
        });
  });
  return out;
}

}  // namespace

double HardConcrete::threshold() const {
  // Rounded to float: 1.1 - 0.5 and 0.5 + 0.1 are not the same double.
  return beta * std::log(double(float(0.5 - gamma)) / double(float(zeta - 0.5)));
}

GateOutput hard_concrete_sample(const Tensor& log_alpha, const HardConcrete& rule,
                                const GateSampling& sampling) {
  ELASTRON_CHECK(!sampling.sample_keys.empty(), "hard_concrete_sample: no documents");
  ELASTRON_CHECK(
      sampling.layer < 1u << 16 && int64_t(sampling.first_kv_head) + log_alpha.size(0) <= 1 << 16,
      "gate: layer and head share one coordinate of the noise");
  return forward(log_alpha, rule, int64_t(sampling.sample_keys.size()), sampling);
}

GateOutput hard_concrete_decide(const Tensor& log_alpha, const HardConcrete& rule,
                                int64_t sequences) {
  return forward(log_alpha, rule, sequences, {});
}

void hard_concrete_backward(const Tensor& d_gate, const Tensor& value, const HardConcrete& rule,
                            Tensor& d_log_alpha) {
  check_same(d_gate, value, "hard_concrete_backward");
  ELASTRON_CHECK(d_gate.rank() == 2 && d_log_alpha.dtype() == d_gate.dtype(),
                 "hard_concrete_backward");
  check_shape(d_log_alpha, {d_gate.size(1)}, "hard_concrete_backward");
  check_dense("hard_concrete_backward", d_gate, value, d_log_alpha);
  with_master_dtype(d_gate.dtype(), [&]<class A>() {
    const auto numbers = detail::HardConcreteNumbers<A>::of(rule);
    const A *d = d_gate.data<A>(), *v = value.data<A>();
    A* sum = d_log_alpha.data<A>();
    const int64_t sequences = d_gate.size(0), heads = d_gate.size(1);
    run_on(
        d_gate.device(),
        [&] { cpu::hard_concrete_backward<A>(d, v, sequences, heads, numbers, sum); },
        [&](auto stream) {
          cuda::hard_concrete_backward<A>(d, v, sequences, heads, numbers, sum, stream);
        },
        [&] { return touches("hard_concrete_backward", d_gate, value, d_log_alpha); });
  });
}

}  // namespace elastron::ops
