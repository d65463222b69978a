// CUDA back end of ops/mlp_chain.h: all pointers are the device's.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"
#include "ops/mlp_chain.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

// W: double or float. What is rounded to lies in tensors of T: W, or bf16 for float.
template <class W, class T>
struct ChainLayerArgs {
  const W *weight, *bias;
  int32_t in, out;
  bool silu;
  T* input;   // [rows, in]; of the first layer null where it is x itself, of others if not kept
  T* before;  // [rows, out], or null
  T* d_out;   // [rows, out] backward: scratch, the gradient in front of SiLU
  W *d_weight, *d_bias;
};
template <class W, class T>
struct ChainArgs {
  int32_t layers = 0, width = 0;  // the widest of in and out
  int64_t rows = 0;
  const W* x = nullptr;  // forward: [rows, in]; backward: dy [rows, out]
  W* y = nullptr;        // forward: [rows, out]; backward: dx [rows, in], or null
  ChainLayerArgs<W, T> layer[kMostChainLayers];
};

template <class W, class T>
void mlp_chain_forward(const ChainArgs<W, T>& args, Stream stream);
// Two launches. layer[0].input is not null.
template <class W, class T>
void mlp_chain_backward(const ChainArgs<W, T>& args, Stream stream);
inline constexpr int64_t kChainBackwardLaunches = 2;

}  // namespace elastron::ops::cuda
