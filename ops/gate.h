// The hard gate with its straight-through gradient (docs/method.md, Stochastic gate).
#pragma once
#include <cstdint>
#include <span>

#include "core/tensor.h"

namespace elastron::ops {

enum class GateNoise : uint8_t { gumbel, logistic };

// How the gate of a training step is drawn.
struct GateSampling {
  uint64_t seed = 0;
  uint32_t step = 0;                      // optimiser step
  std::span<const uint32_t> sample_keys;  // [sequences]: name the document within its step
  uint32_t layer = 0;
  uint32_t first_kv_head = 0;  // global index of local kv head 0
  GateNoise noise = GateNoise::gumbel;
  double tau = 1.0;
};

struct GateOutput {
  Tensor gate;         // [sequences, kv_heads] uint8, 1 = full attention
  Tensor probability;  // [sequences, kv_heads] master dtype: the noisy p of the forward pass
};

// logits [sequences, kv_heads, classes] master dtype; classes 2: (SA, FA), 1: the FA logit.
// z = 1 iff p > 1/2; a tie gives SA. Noise: one draw per (document, layer, global kv head, class),
// so that it does not depend on how heads are split over ranks.
GateOutput gate_sample(const Tensor& logits, const GateSampling& sampling);

// Without noise: z = 1 iff l_FA > l_SA (classes 2) or l > 0 (classes 1). p at temperature 1.
GateOutput gate_decide(const Tensor& logits);

// d_gate [sequences, kv_heads] -> d_logits [sequences, kv_heads, classes], through p.
Tensor gate_backward(const Tensor& d_gate, const Tensor& probability, int64_t classes, double tau);

// d_log_tau [1] += the derivative with respect to ln tau, for a temperature that is learned.
void gate_tau_backward(const Tensor& d_gate, const Tensor& probability, Tensor& d_log_tau);

}  // namespace elastron::ops
