// CUDA back end of ops/gathered_read.h.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

struct GatheredPart {
  const void* from;
  int64_t begin, bytes;  // in the buffer; begin is a multiple of 8
};

// `parts` [count] and `to` lie on the device.
void gather_parts(const GatheredPart* parts, int64_t count, uint8_t* to, Stream stream);

}  // namespace elastron::ops::cuda
