// Asks a GPU how much memory it has, and could still give.
#pragma once
#include <cstdint>

#include "core/device.h"

namespace elastron::cuda {

struct GpuMemory {
  int64_t total = 0;
  int64_t free = 0;  // to all processes together
};

// Bytes; zeros: not known. `device` is of kind cuda.
GpuMemory gpu_memory(const Device& device);

}  // namespace elastron::cuda
