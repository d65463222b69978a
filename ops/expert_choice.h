// Which experts a token goes to, and with what weights (Shazeer et al. 2017, section 2.1; Qwen3-MoE
// as the transformers library computes it; docs/method.md, Experts).
//
// A token takes the `per_token` experts of the highest logits, the lower one of equals, so that all
// devices choose alike. The weight of a chosen expert is its softmax over all logits, or, normalised,
// over those of the chosen ones. Softmax is in float32 (float64 of float64). T tokens, E experts, k
// of them per token.
#pragma once
#include <cstdint>

#include "core/tensor.h"

namespace elastron::ops {

// The most that a token may be given the choice of, and that it may take.
inline constexpr int64_t kMostExperts = 1024, kMostChosen = 64;

struct ExpertRule {
  int64_t per_token = 1;
  bool normalise = false;  // the weights of a token add up to 1
};

struct ExpertChoice {
  Tensor experts;  // [T, k] int32, ascending for each token
  Tensor weights;  // [T, k] float32 (float64 of float64)
};

// logits [T, E], float64, float32 or bfloat16. A NaN makes the token's weights NaN.
ExpertChoice choose_experts(const Tensor& logits, const ExpertRule& rule);
// The weights of experts that were chosen before.
Tensor expert_weights(const Tensor& logits, const Tensor& experts, const ExpertRule& rule);
// d_weights [T, k] -> gradient to the logits [T, E], in their dtype. The choice itself has none.
Tensor expert_weights_backward(const Tensor& d_weights, const Tensor& logits, const Tensor& experts,
                               const ExpertRule& rule);

}  // namespace elastron::ops
