#include "launch/device.h"

#if ELASTRON_WITH_CUDA
#include "core/cuda/device.h"
#endif

namespace elastron::launch {

ChosenDevice choose_device(train::DeviceChoice choice, [[maybe_unused]] int node_rank) {
  ChosenDevice chosen;
  if (choice != train::DeviceChoice::cpu) {
#if ELASTRON_WITH_CUDA
    const int count = cuda::device_count(&chosen.why_not_gpu);
    if (count > 0 || choice == train::DeviceChoice::cuda) {
      // Without a GPU the constructor says so.
      chosen.device = std::make_unique<cuda::CudaDevice>(count > 0 ? node_rank % count : 0);
      return chosen;
    }
#else
    chosen.why_not_gpu = "this build has no CUDA back end";
#endif
  }
  chosen.device = std::make_unique<CpuDevice>();
  return chosen;
}

}  // namespace elastron::launch
