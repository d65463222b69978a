// CUDA back end of ops/sparsity_objective.h: all pointers are the device's.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"
#include "ops/detail/objective_args.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

// gates [layers]: pointers to [documents, heads].
void count_closed_gates(const uint8_t* const* gates, int64_t layers, int64_t documents,
                        int64_t heads, double* closed, Stream stream);
template <class A>
void sparsity_objective(const detail::ObjectiveArgs<A>& args, Stream stream);

}  // namespace elastron::ops::cuda
