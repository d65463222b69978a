#include "launch/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <vector>

#include "core/error.h"
#include "launch/gpu_sharing.h"
#include "parallel/agree.h"

#if ELASTRON_WITH_CUDA
#include "core/cuda/device.h"
#include "core/cuda/gpus.h"
#endif

namespace elastron::launch {

namespace {

#if ELASTRON_WITH_CUDA

// The names of the GPUs that this process sees, with blanks between them. Never throws: where there
// is none, `why` says so.
std::string visible_gpus(std::string& why) {
  std::string names;
  try {
    const int count = cuda::device_count(&why);
    for (int i = 0; i < count; ++i) names += cuda::gpu_uuid(i) + " ";
  } catch (const std::exception& e) {
    why = e.what();
    names.clear();
  }
  return names;
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

// Collective. No device where `auto` finds no GPU at all.
ChosenDevice choose_gpu(train::DeviceChoice choice, parallel::Communicator& everyone) {
  ChosenDevice chosen;
  std::vector<std::vector<std::string>> seen;
  for (const auto& names : everyone.all_gather_host(visible_gpus(chosen.why_not_gpu))) {
    seen.push_back(words(names));
  }
  const bool any = std::ranges::any_of(seen, [](const auto& gpus) { return !gpus.empty(); });
  if (!any && choice == train::DeviceChoice::automatic) return chosen;
  const TakenGpu taken = share_gpus(seen)[size_t(everyone.rank())];
  const auto take = [&] {
    if (any && taken.ordinal < 0) {
      throw UsageError(
          fmt::format("rank {} sees no GPU ({}), others do", everyone.rank(), chosen.why_not_gpu),
          "device",
          "let every rank see one (CUDA_VISIBLE_DEVICES, the scheduler's GPUs per task), or set "
          "device: cpu");
    }
    // Without a GPU the constructor says so.
    chosen.device = std::make_unique<cuda::CudaDevice>(std::max(taken.ordinal, 0));
  };
  if (everyone.size() > 1) {
    parallel::on_all_ranks(everyone, take);
  } else {
    take();
  }
  chosen.sharers = std::max(taken.sharers, 1);
  return chosen;
}

#else

ChosenDevice choose_gpu(train::DeviceChoice, parallel::Communicator&) {
  ChosenDevice chosen;
  chosen.why_not_gpu = "this build has no CUDA back end";
  return chosen;
}

#endif

}  // namespace

ChosenDevice choose_device(train::DeviceChoice choice, parallel::Communicator& everyone) {
  ChosenDevice chosen;
  if (choice != train::DeviceChoice::cpu) chosen = choose_gpu(choice, everyone);
  if (!chosen.device) chosen.device = std::make_unique<CpuDevice>();
  chosen.device->set_advice_when_full(
      "lower data.max_tokens or train.micro_batch, set train.recompute: layer, or raise "
      "parallel.tensor");
  return chosen;
}

ChosenDevice choose_device(train::DeviceChoice choice) {
  parallel::SelfCommunicator alone("world");
  return choose_device(choice, alone);
}

// The kernel could give this much without swapping.
int64_t available_host_memory(int node_size) {
  std::ifstream file("/proc/meminfo");
  for (std::string key; file >> key;) {
    int64_t kibibytes = 0;
    if (key == "MemAvailable:" && file >> kibibytes) return (kibibytes << 10) / node_size;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

}  // namespace elastron::launch
