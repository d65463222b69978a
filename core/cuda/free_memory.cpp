#include "core/cuda/free_memory.h"

#include <cuda_runtime.h>

#include "core/error.h"

namespace elastron::cuda {

GpuMemory gpu_memory(const Device& device) {
  ELASTRON_CHECK(device.kind() == DeviceKind::cuda, "gpu_memory() of a device that is no GPU");
  // A process has one GPU.
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) return {};
  return {.total = int64_t(total), .free = int64_t(free)};
}

}  // namespace elastron::cuda
