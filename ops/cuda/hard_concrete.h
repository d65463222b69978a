// CUDA back ends of ops/hard_concrete.h: device pointers, everything checked by the caller; the
// same random numbers as on the CPU.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"
#include "ops/detail/hard_concrete_math.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

// sample_keys [sequences] on the device, null: no noise; those of `sampling` are not read.
template <class A>
void hard_concrete_forward(const A* log_alpha, int64_t sequences, int64_t heads,
                           const detail::HardConcreteNumbers<A>& n, const GateSampling& sampling,
                           const uint32_t* sample_keys, uint8_t* gate, A* value, Stream stream);
template <class A>
void hard_concrete_backward(const A* d_gate, const A* value, int64_t sequences, int64_t heads,
                            const detail::HardConcreteNumbers<A>& n, A* d_log_alpha, Stream stream);

}  // namespace elastron::ops::cuda
