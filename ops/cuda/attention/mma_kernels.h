// The kernels of routed attention on tensor cores; kernel_choice.h says when they are used.
#pragma once
#include "ops/cuda/attention/routed_attention.h"

namespace elastron::ops::cuda {

void mma_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                           Pairs pairs, Device& device, Stream stream);
// dq, dk and dv from lse and the row dots, which are there already.
void mma_attention_gradients(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                             Pairs pairs, Device& device, Stream stream);

}  // namespace elastron::ops::cuda
