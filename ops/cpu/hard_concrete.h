// CPU back ends of ops/hard_concrete.h: plain pointers, everything checked by the caller. Tens to
// thousands of gates per layer: not worth waking threads.
#pragma once
#include "ops/detail/hard_concrete_math.h"

namespace elastron::ops::cpu {

// sample_keys null: no noise. -> gate, value [sequences, heads].
template <class A>
void hard_concrete_forward(const A* log_alpha, int64_t sequences, int64_t heads,
                           const detail::HardConcreteNumbers<A>& n, const GateSampling& sampling,
                           const uint32_t* sample_keys, uint8_t* gate, A* value) {
  for (int64_t i = 0; i < sequences * heads; ++i) {
    const int64_t s = i / heads, h = i % heads;
    const A x = sample_keys == nullptr
                    ? log_alpha[h]
                    : detail::noisy_logit(log_alpha + h, 1, GateNoise::logistic,
                                          {sampling.seed, sampling.step, sample_keys[s],
                                           sampling.layer, sampling.first_kv_head + uint32_t(h)});
    value[i] = detail::hard_concrete_value(x, n);
    // v > 1/2 by x: rounding of v must not turn a win into a tie, nor a tie into a win.
    gate[i] = x > n.threshold ? 1 : 0;
  }
}

template <class A>
void hard_concrete_backward(const A* d_gate, const A* value, int64_t sequences, int64_t heads,
                            const detail::HardConcreteNumbers<A>& n, A* d_log_alpha) {
  for (int64_t h = 0; h < heads; ++h) {
    A sum = 0;
    for (int64_t i = h; i < sequences * heads; i += heads) {
      sum += d_gate[i] * detail::hard_concrete_slope(value[i], n);
    }
    d_log_alpha[h] += sum;
  }
}

}  // namespace elastron::ops::cpu
