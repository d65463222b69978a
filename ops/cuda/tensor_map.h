// Tensor maps: what the copy engine of sm_90 is told of a tensor and of the boxes it is to copy
// (ops/cuda/hopper.h). Host code; the map goes to the kernel as a __grid_constant__ parameter.
#pragma once
#include <cuda.h>

#include <cstdint>

#include "ops/attention/args.h"

namespace elastron::ops::cuda {

// Boxes of 64 columns x `heads` x `tokens` (at most 256 each) of x [all_tokens, all_heads,
// head_dim] bfloat16, as a swizzled tile whose row token * heads + head is 64 columns long.
// Coordinates: column, head, token. What lies beyond `all_tokens`, at least 1, reads as zeros.
// x's address and token stride are multiples of 16 bytes. Throws LogicError for what the driver
// does not take.
CUtensorMap tile_map(const HeadsView& x, int64_t all_tokens, int64_t all_heads, int64_t head_dim,
                     int64_t tokens, int64_t heads);

// Whether the driver knows tensor maps: false where there is no driver, or an old one.
bool has_tensor_maps();

}  // namespace elastron::ops::cuda
