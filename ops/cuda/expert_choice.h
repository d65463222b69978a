// CUDA back end of ops/expert_choice.h: device pointers, checked by the front; issued on `stream`.
// T: double, float or bf16. One kernel each, a warp per token.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"
#include "core/dtype.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

template <class T>
void choose_experts(const T* logits, int64_t tokens, int64_t experts, int64_t k, int32_t* chosen,
                    Stream stream);
template <class T>
void expert_weights(const T* logits, const int32_t* chosen, int64_t tokens, int64_t experts,
                    int64_t k, bool normalise, accumulator_t<T>* weights, Stream stream);
template <class T>
void expert_weights_backward(const accumulator_t<T>* d_weights, const T* logits,
                             const int32_t* chosen, int64_t tokens, int64_t experts, int64_t k,
                             bool normalise, T* d_logits, Stream stream);

}  // namespace elastron::ops::cuda
