#include "launch/device.h"

#include <algorithm>
#include <fstream>
#include <limits>

#if ELASTRON_WITH_CUDA
#include "core/cuda/device.h"
#include "core/cuda/free_memory.h"
#endif

namespace elastron::launch {

namespace {

ChosenDevice choose(train::DeviceChoice choice, [[maybe_unused]] int node_rank) {
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

// The kernel could give this much without swapping.
int64_t available_host_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string key; file >> key;) {
    int64_t kibibytes = 0;
    if (key == "MemAvailable:" && file >> kibibytes) return kibibytes << 10;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

}  // namespace

ChosenDevice choose_device(train::DeviceChoice choice, int node_rank) {
  ChosenDevice chosen = choose(choice, node_rank);
  chosen.device->set_advice_when_full(
      "lower data.max_tokens or train.micro_batch, set train.recompute: layer, or raise "
      "parallel.tensor");
  return chosen;
}

int64_t memory_per_rank(const Device& device, int node_size) {
#if ELASTRON_WITH_CUDA
  if (device.kind() == DeviceKind::cuda) {
    const int count = std::max(cuda::device_count(), 1);
    return cuda::free_memory(device) / ((node_size + count - 1) / count);
  }
#endif
  return device.kind() == DeviceKind::cpu ? available_host_memory() / node_size : 0;
}

}  // namespace elastron::launch
