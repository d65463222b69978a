// A chain of small linear layers, with SiLU behind some: the networks of a router
// (docs/method.md, Router network). Rows are few, documents x kv heads, so that on a GPU the chain is
// one kernel, and two on the way back; products one by one would cost more to launch than to do.
//
// Rows do not depend on each other: a row has the same bits in any company.
#pragma once
#include <span>
#include <vector>

#include "core/tensor.h"
#include "ops/linear.h"

namespace elastron::ops {

inline constexpr size_t kMostChainLayers = 8;

struct ChainLayer {
  const LinearWeight* weight = nullptr;  // [out, in], in place
  Tensor bias;                           // [out]
  bool silu = false;
};

// What the way back needs, [rows, width] each, in the dtype that is computed in.
struct ChainSaved {
  std::vector<Tensor> input;   // of each layer
  std::vector<Tensor> before;  // SiLU inputs; undefined where no SiLU follows
};

// Where the gradients of a layer are added.
struct ChainGradient {
  Tensor weight, bias;
};

// x [rows, in], in the weights' dtype, which is a master dtype -> [rows, out]. `compute`: that
// dtype, or bfloat16: weights and what lies between layers are then rounded to it. saved may be
// null.
Tensor mlp_chain_forward(const Tensor& x, std::span<const ChainLayer> layers, DType compute,
                         ChainSaved* saved);

// dy [rows, out] -> dx [rows, in]; undefined unless need_input. Adds to `gradients` of each layer.
Tensor mlp_chain_backward(const Tensor& dy, std::span<const ChainLayer> layers, DType compute,
                          const ChainSaved& saved, std::span<ChainGradient> gradients,
                          bool need_input);

}  // namespace elastron::ops
