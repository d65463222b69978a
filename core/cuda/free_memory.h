// Asks a GPU how much memory it could still give.
#pragma once
#include <cstdint>

#include "core/device.h"

namespace elastron::cuda {

// Bytes, to all processes together; 0: not known. `device` is of kind cuda.
int64_t free_memory(const Device& device);

}  // namespace elastron::cuda
