// The sparsity objective of a micro batch on the device (docs/method.md, Objective): from the gates
// to their gradient nothing has to be read.
#pragma once
#include <cstdint>
#include <span>

#include "core/tensor.h"

namespace elastron::ops {

// closed [D] float64: how many of a document's gates are closed, over all layers and heads; whole
// numbers. gates: of each layer [D, K] uint8, 1 = full attention.
Tensor count_closed_gates(std::span<const Tensor> gates);

// A document as the host knows it.
struct ObjectiveDocument {
  double target = 0;  // of its sparsity
  double weight = 0;  // of its term in the objective
  int32_t task = 0;   // row of the multipliers
};

struct SparsityObjectiveRule {
  bool multipliers = true;  // false: reg_b = |gap_b|, without lambda1 and lambda2
  bool absolute = true;     // |gap_b| beside lambda1, rather than gap_b
  // d_gate is this times dReg / dMSR, shared by the gates that MSR is a mean of.
  double gate_scale = 0;
  // What the multipliers' gradients are multiplied by as they are added.
  double lambda_scale = 0;
};

// Multipliers [tasks] of master dtype, and where their gradients are added; undefined: nowhere.
struct ObjectiveMultipliers {
  Tensor lambda1, lambda2, d_lambda1, d_lambda2;
};

struct SparsityObjectiveOutput {
  Tensor value;  // [1] float64: sum of weight x reg
  Tensor reg;    // [D] float64
  Tensor d_msr;  // [D] float64: weight x dreg / dMSR
  Tensor
      d_gate;  // [D, heads] in the multipliers' dtype: gate_scale x d_msr / of, for each head alike
};

// closed [D] float64, MSR_b = closed_b / of. Sums go over the documents in their order on the CPU,
// in an order fixed by their number on a GPU.
SparsityObjectiveOutput sparsity_objective(const Tensor& closed, double of,
                                           std::span<const ObjectiveDocument> documents,
                                           const ObjectiveMultipliers& multipliers,
                                           const SparsityObjectiveRule& rule, int64_t heads);

}  // namespace elastron::ops
