// Sums over groups of heads, and their adjoint: one decision for a layer, or for the query heads of
// a kv head, is made of what is pooled of several heads (docs/method.md, Routing by layer).
//
// S documents, H heads, G groups of H / G consecutive ones, D numbers per head.
#pragma once
#include <cstdint>

#include "core/tensor.h"

namespace elastron::ops {

// x [S, H, D] -> [S, G, D]: scale times the sum over each group's heads, in their order. Master
// dtype. G divides H.
Tensor sum_heads(const Tensor& x, int64_t groups, double scale);

// The adjoint: x [S, G, D] -> [S, H, D], every head of a group has scale times the group's.
Tensor spread_over_heads(const Tensor& x, int64_t heads, double scale);

// gate [S, G] uint8 -> [S, H]: every head of a group has the group's gate.
Tensor spread_gate(const Tensor& gate, int64_t heads);

}  // namespace elastron::ops
