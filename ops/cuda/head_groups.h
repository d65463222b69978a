// CUDA back ends of ops/head_groups.h: all pointers are the device's, arguments as on the CPU
// (ops/cpu/head_groups.h).
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

template <class A>
void sum_heads(const A* x, int64_t rows, int64_t each, int64_t width, A scale, A* sum,
               Stream stream);
// Also of uint8_t.
template <class A>
void spread_over_heads(const A* x, int64_t rows, int64_t each, int64_t width, A scale, A* spread,
                       Stream stream);

}  // namespace elastron::ops::cuda
