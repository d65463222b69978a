#include "core/cuda/free_memory.h"

#include <cuda_runtime.h>

#include "core/error.h"

namespace elastron::cuda {

int64_t free_memory(const Device& device) {
  ELASTRON_CHECK(device.kind() == DeviceKind::cuda, "free_memory() of a device that is no GPU");
  // A process has one GPU.
  size_t free = 0, total = 0;
  return cudaMemGetInfo(&free, &total) == cudaSuccess ? int64_t(free) : 0;
}

}  // namespace elastron::cuda
