#include "ops/gate.h"

#include "core/dispatch.h"
#include "core/philox.h"
#include "ops/check.h"
#include "ops/detail/gate_math.h"

namespace elastron::ops {

namespace {

void check_logits(const Tensor& logits) {
  ELASTRON_CHECK(logits.rank() == 3 && (logits.size(2) == 1 || logits.size(2) == 2),
                 "gate takes [sequences, kv_heads, 1 or 2] logits");
  check_contiguous(logits, "gate");
  check_cpu(logits, "gate");
}

GateOutput allocate(const Tensor& logits) {
  const Shape shape{logits.size(0), logits.size(1)};
  return {Tensor::empty(shape, DType::u8, logits.device()),
          Tensor::empty(shape, logits.dtype(), logits.device())};
}

float draw(GateNoise noise, const RandomStream& stream, uint64_t index) {
  const float u = stream.uniform_at(index);
  return noise == GateNoise::gumbel ? detail::gumbel_noise(u) : detail::logistic_noise(u);
}

}  // namespace

GateOutput gate_sample(const Tensor& logits, const GateSampling& sampling) {
  check_logits(logits);
  const int64_t sequences = logits.size(0), heads = logits.size(1), classes = logits.size(2);
  ELASTRON_CHECK(int64_t(sampling.sample_keys.size()) == sequences, "gate: one key per sequence");
  GateOutput out = allocate(logits);
  with_master_dtype(logits.dtype(), [&]<class A>() {
    const A* l = logits.data<A>();
    for (int64_t s = 0; s < sequences; ++s) {
      for (int64_t h = 0; h < heads; ++h) {
        const RandomStream stream(sampling.seed, RandomPurpose::gate_noise, sampling.step,
                                  sampling.sample_keys[size_t(s)],
                                  sampling.layer << 16 | (sampling.first_kv_head + uint32_t(h)));
        const int64_t i = s * heads + h;
        A noisy = 0;
        if (classes == 2) {
          noisy = (l[2 * i + 1] + A(draw(sampling.noise, stream, 1))) -
                  (l[2 * i] + A(draw(sampling.noise, stream, 0)));
        } else {
          noisy = l[i] + A(draw(sampling.noise, stream, 0));
        }
        const A p = detail::gate_probability(noisy, A(sampling.tau));
        out.probability.data<A>()[i] = p;
        // The sign of the noisy logit, not p > 1/2: rounding of p must not turn a win into a tie.
        out.gate.data<uint8_t>()[i] = noisy > A(0) ? 1 : 0;
      }
    }
  });
  return out;
}

GateOutput gate_decide(const Tensor& logits) {
  check_logits(logits);
  const int64_t n = logits.size(0) * logits.size(1), classes = logits.size(2);
  GateOutput out = allocate(logits);
  with_master_dtype(logits.dtype(), [&]<class A>() {
    const A* l = logits.data<A>();
    for (int64_t i = 0; i < n; ++i) {
      const A margin = classes == 2 ? l[2 * i + 1] - l[2 * i] : l[i];
      out.gate.data<uint8_t>()[i] = margin > A(0) ? 1 : 0;
      out.probability.data<A>()[i] = detail::gate_sigmoid(margin);
    }
  });
  return out;
}

Tensor gate_backward(const Tensor& d_gate, const Tensor& probability, int64_t classes,
                     double tau) {
  check_same(d_gate, probability, "gate_backward");
  check_contiguous(d_gate, "gate_backward");
  check_cpu(d_gate, "gate_backward");
  Tensor d_logits = Tensor::empty({d_gate.size(0), d_gate.size(1), classes}, d_gate.dtype(),
                                  d_gate.device());
  with_master_dtype(d_gate.dtype(), [&]<class A>() {
    const A *dz = d_gate.data<A>(), *p = probability.data<A>();
    A* dl = d_logits.data<A>();
    for (int64_t i = 0; i < d_gate.numel(); ++i) {
      const A d = dz[i] * detail::gate_slope(p[i], A(tau));
      if (classes == 2) {
        dl[2 * i] = -d;
        dl[2 * i + 1] = d;
      } else {
        dl[i] = d;
      }
    }
  });
  return d_logits;
}

}  // namespace elastron::ops
