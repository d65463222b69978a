// Tokens' rows by expert, and back: T tokens that go to k of E experts each make T k rows, which are
// grouped by expert, ascending, and within an expert by token. So a row's results are added in the
// order of its experts, and what a token gets does not depend on the others.
//
// A slot is a token's j-th expert, t k + j.
#pragma once
#include <cstdint>

#include "core/tensor.h"

namespace elastron::ops {

struct ExpertRows {
  Tensor bounds;  // [E + 1] int32: expert e has rows bounds[e] .. bounds[e + 1] - 1
  Tensor tokens;  // [T k] int32: of each row
  Tensor slots;   // [T k] int32: of each row
  Tensor places;  // [T k] int32: the row of each slot
};

// chosen [T, k] int32, ascending for each token and less than `experts`. On a GPU nothing of it is
// read by the host.
ExpertRows rows_by_expert(const Tensor& chosen, int64_t experts);

// x [T k, n] by row, weights [T, k] in the dtype of sums or undefined (all 1) -> [T, n], the sum
// over a token's slots in their order, in float32 (float64 of float64), rounded once.
Tensor sum_expert_rows(const Tensor& x, const ExpertRows& rows, int64_t tokens,
                       const Tensor& weights = {});

// The way back where y[t] = sum over j of weights[t, j] f(h of the row): of d_h [T k, n], the
// gradient to h of each row as if its weight were 1, and h itself -> gradient to the weights [T, k];
// d_h is multiplied by the weights, in its place.
Tensor weigh_expert_gradient(Tensor& d_h, const Tensor& h, const ExpertRows& rows,
                             const Tensor& weights);

}  // namespace elastron::ops
