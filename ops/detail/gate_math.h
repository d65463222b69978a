// The stochastic gate, per (sequence, kv head): docs/method.md, Stochastic gate. Shared by every
// back end.
#pragma once
#include <cmath>

#include "core/host_device.h"
#include "core/philox.h"
#include "ops/gate.h"

namespace elastron::ops::detail {

// g = -ln(-ln(u + eps) + eps), in float: half precisions would cut off the upper tail.
ELASTRON_HD inline float gumbel_noise(float u) {
  constexpr float kEps = 1e-8f;
  return -logf(-logf(u + kEps) + kEps);
}

// g = ln u - ln(1 - u): removes the bias of the single-logit gate (option of docs/method.md,
// Stochastic gate).
ELASTRON_HD inline float logistic_noise(float u) {
  constexpr float kEps = 1e-8f;
  return logf(u + kEps) - logf(1.0f - u + kEps);
}

// Names the noise of one gate.
struct GateNoiseKey {
  uint64_t seed;
  uint32_t step, sample, layer, kv_head;  // kv_head: global
};

ELASTRON_HD inline float draw_noise(GateNoise noise, const RandomStream& stream, uint64_t index) {
  const float u = stream.uniform_at(index);
  return noise == GateNoise::gumbel ? gumbel_noise(u) : logistic_noise(u);
}

// The FA logit less the SA logit, noise included. l [classes]: (SA, FA), or the FA logit.
template <class A>
ELASTRON_HD inline A noisy_logit(const A* l, int64_t classes, GateNoise noise,
                                 const GateNoiseKey& key) {
  const RandomStream stream(key.seed, RandomPurpose::gate_noise, key.step, key.sample,
                            key.layer << 16 | key.kv_head);
  const A g0 = A(draw_noise(noise, stream, 0));
  return classes == 2 ? (l[1] + A(draw_noise(noise, stream, 1))) - (l[0] + g0) : l[0] + g0;
}

template <class A>
ELASTRON_HD inline A gate_sigmoid(A x) {
  return A(1) / (A(1) + std::exp(-x));
}

// FA probability of the noisy gate. Softmax over (SA, FA) is the sigmoid of the difference.
template <class A>
ELASTRON_HD inline A gate_probability(A noisy_logit, A tau) {
  return gate_sigmoid(noisy_logit / tau);
}

// dp / d(noisy logit), at the p of the forward pass.
template <class A>
ELASTRON_HD inline A gate_slope(A p, A tau) {
  return p * (A(1) - p) / tau;
}

// dp / d(ln tau), at the p of the forward pass: -p (1 - p) ln(p / (1 - p)), 0 where p is 0 or 1.
template <class A>
ELASTRON_HD inline A gate_log_tau_slope(A p) {
  const A q = A(1) - p;
  return p > A(0) && q > A(0) ? -p * q * (std::log(p) - std::log(q)) : A(0);
}

}  // namespace elastron::ops::detail
