// The kernels of routed attention on tensor cores, and what they take. The front of
// ops/cuda/routed_attention.h asks `tensor_cores_take` and calls them; the plain kernels are for
// the rest.
#pragma once
#include <cstdint>
#include <initializer_list>

#include "core/dtype.h"
#include "ops/cuda/routed_attention.h"

namespace elastron::ops::cuda {

// Rows can be read 16 bytes at a time.
inline bool aligned_rows(std::initializer_list<HeadsView> views) {
  for (const HeadsView& x : views) {
    if (reinterpret_cast<uintptr_t>(x.data) % 16 != 0 || x.token_stride % 8 != 0) return false;
  }
  return true;
}

inline bool tensor_cores_take(DType dtype, const AttentionShape& shape,
                              std::initializer_list<HeadsView> views) {
  if (dtype != DType::bf16 || shape.head_dim % 16 != 0 || shape.head_dim > kMostHeadDim) {
    return false;
  }
  return aligned_rows(views);
}

void mma_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                           Pairs pairs, Device& device, Stream stream);
// dq, dk and dv from lse and the row dots, which are there already.
void mma_attention_gradients(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                             Pairs pairs, Device& device, Stream stream);

}  // namespace elastron::ops::cuda
