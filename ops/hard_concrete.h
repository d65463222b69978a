// The hard-concrete gate (Louizos, Welling, Kingma 2018), with one log-alpha per kv head: a relaxed
// Bernoulli value, stretched beyond [0, 1] and clamped. The gate is its hard decision, with the
// value's gradient (straight-through), as for the routers' gates (ops/gate.h).
//
//   x = log_alpha + ln u - ln(1 - u),  s = sigmoid(x / beta),
//   v = clamp(gamma + (zeta - gamma) s, 0, 1),  z = 1 iff v > 1/2,
//   dv / dlog_alpha = (zeta - gamma) s (1 - s) / beta, 0 where v is clamped
//
// z = 1 has the probability sigmoid(log_alpha - threshold()).
#pragma once
#include "core/tensor.h"
#include "ops/gate.h"

namespace elastron::ops {

// gamma <= 0 and zeta >= 1.
struct HardConcrete {
  double beta = 2.0 / 3.0;
  double gamma = -0.1, zeta = 1.1;

  // The x at which v is 1/2. Exactly 0 where gamma and zeta lie evenly around it.
  double threshold() const;
};

// log_alpha [kv_heads] master dtype, this rank's heads -> gate [sequences, kv_heads], and v in
// place of the probability. Noise as in gate_sample, of the logistic kind; `noise` and `tau` of
// `sampling` are not read. A tie gives SA.
GateOutput hard_concrete_sample(const Tensor& log_alpha, const HardConcrete& rule,
                                const GateSampling& sampling);

// Without noise (u = 1/2): the same gates for every sequence.
GateOutput hard_concrete_decide(const Tensor& log_alpha, const HardConcrete& rule,
                                int64_t sequences);

// d_log_alpha [kv_heads] += d_gate [sequences, kv_heads] through v, summed over the sequences.
void hard_concrete_backward(const Tensor& d_gate, const Tensor& value, const HardConcrete& rule,
                            Tensor& d_log_alpha);

}  // namespace elastron::ops
