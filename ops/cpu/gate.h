// CPU back ends of ops/gate.h: plain pointers, everything checked by the caller. Tens to thousands
// of gates per layer: not worth waking threads.
#pragma once
#include "ops/detail/gate_math.h"
#include "ops/gate.h"

namespace elastron::ops::cpu {

// logits [sequences, heads, classes] -> gate, probability [sequences, heads].
template <class A>
void gate_sample(const A* logits, int64_t sequences, int64_t heads, int64_t classes,
                 const GateSampling& sampling, uint8_t* gate, A* probability) {
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t i = s * heads + h;
      const A noisy =
          detail::noisy_logit(logits + i * classes, classes, sampling.noise,
                              {sampling.seed, sampling.step, sampling.sample_keys[size_t(s)],
                               sampling.layer, sampling.first_kv_head + uint32_t(h)});
      probability[i] = detail::gate_probability(noisy, A(sampling.tau));
      // p > 1/2 by the sign of the noisy logit: rounding of p must not turn a win into a tie.
      gate[i] = noisy > A(0) ? 1 : 0;
    }
  }
}

template <class A>
void gate_decide(const A* logits, int64_t gates, int64_t classes, uint8_t* gate, A* probability) {
  for (int64_t i = 0; i < gates; ++i) {
    const A* l = logits + i * classes;
    const A margin = classes == 2 ? l[1] - l[0] : l[0];
    gate[i] = margin > A(0) ? 1 : 0;
    probability[i] = detail::gate_sigmoid(margin);
  }
}

template <class A>
void gate_backward(const A* d_gate, const A* probability, int64_t gates, int64_t classes,
                   double tau, A* d_logits) {
  for (int64_t i = 0; i < gates; ++i) {
    const A d = d_gate[i] * detail::gate_slope(probability[i], A(tau));
    A* out = d_logits + i * classes;
    out[classes - 1] = d;
    if (classes == 2) out[0] = -d;
  }
}

template <class A>
A gate_tau_backward(const A* d_gate, const A* probability, int64_t gates) {
  A sum = 0;
  for (int64_t i = 0; i < gates; ++i) {
    sum += d_gate[i] * detail::gate_log_tau_slope(probability[i]);
  }
  return sum;
}

}  // namespace elastron::ops::cpu
