// CUDA back ends of ops/gate.h: device pointers, everything checked by the caller; the same random
// numbers as on the CPU.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"
#include "ops/gate.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

// sample_keys [sequences] on the device; those of `sampling` are not read.
template <class A>
void gate_sample(const A* logits, int64_t sequences, int64_t heads, int64_t classes,
                 const GateSampling& sampling, const uint32_t* sample_keys, uint8_t* gate,
                 A* probability, Stream stream);
template <class A>
void gate_decide(const A* logits, int64_t gates, int64_t classes, uint8_t* gate, A* probability,
                 Stream stream);
template <class A>
void gate_backward(const A* d_gate, const A* probability, int64_t gates, int64_t classes,
                   double tau, A* d_logits, Stream stream);
// *d_log_tau += the sum.
template <class A>
void gate_tau_backward(const A* d_gate, const A* probability, int64_t gates, A* d_log_tau,
                       Stream stream);

}  // namespace elastron::ops::cuda
