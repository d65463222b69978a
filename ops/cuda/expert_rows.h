// CUDA back end of ops/expert_rows.h: device pointers, checked by the front; issued on `stream`.
// T: double, float or bf16. Nothing waits for the host.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"
#include "core/dtype.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

// One kernel each; weights may be null.
void rows_by_expert(const int32_t* chosen, int64_t slots, int64_t k, int64_t experts,
                    int32_t* bounds, int32_t* tokens, int32_t* slot_of, int32_t* places,
                    Stream stream);
template <class T>
void sum_expert_rows(const T* x, const int32_t* places, const accumulator_t<T>* weights, T* y,
                     int64_t tokens, int64_t k, int64_t n, Stream stream);
template <class T>
void weigh_expert_gradient(T* d_h, const T* h, const int32_t* slots,
                           const accumulator_t<T>* weights, accumulator_t<T>* d_weights,
                           int64_t rows, int64_t n, Stream stream);

}  // namespace elastron::ops::cuda
