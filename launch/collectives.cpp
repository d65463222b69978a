#include "launch/collectives.h"

#include <fmt/format.h>

#include <cstdlib>
#include <set>

#include "core/error.h"
#include "parallel/agree.h"

#if ELASTRON_WITH_CUDA
#include "core/cuda/device.h"
#endif
#if ELASTRON_WITH_NCCL
#include "parallel/nccl.h"
#endif

namespace elastron::launch {

namespace {

#if ELASTRON_WITH_CUDA
// Collective. How many GPUs the ranks have together.
size_t count_gpus(const Device& device, parallel::Communicator& everyone) {
  const auto names = everyone.all_gather_host(static_cast<const cuda::CudaDevice&>(device).uuid());
  return std::set<std::string>(names.begin(), names.end()).size();
}
#else
size_t count_gpus(const Device&, parallel::Communicator&) { return 0; }
#endif

#if ELASTRON_WITH_NCCL

// "ranks 0 and 1 share a GPU", or nothing. NCCL refuses that, unless it takes the ranks to be on
// different machines.
std::string shared_gpu(const cuda::CudaDevice& device, parallel::Communicator& everyone) {
  const char* pretended = std::getenv("NCCL_HOSTID");
  const std::string mine = device.uuid() + "@" + (pretended != nullptr ? pretended : "");
  const auto all = everyone.all_gather_host(mine);
  for (size_t b = 0; b < all.size(); ++b) {
    for (size_t a = 0; a < b; ++a) {
      if (all[a] == all[b]) return fmt::format("ranks {} and {} share a GPU", a, b);
    }
  }
  return "";
}

#endif

ChosenCollectives open_if_possible([[maybe_unused]] parallel::World& world,
                                   [[maybe_unused]] parallel::Communicator& everyone,
                                   [[maybe_unused]] Device& device) {
  ChosenCollectives chosen;
#if ELASTRON_WITH_NCCL
  auto& gpu = static_cast<cuda::CudaDevice&>(device);
  chosen.why_not_nccl = shared_gpu(gpu, everyone);
  if (!chosen.why_not_nccl.empty()) return chosen;
  chosen.backend = parallel::open_nccl(world, gpu, chosen.why_not_nccl);
  // All ranks or none.
  std::string missing;
  const auto reasons = everyone.all_gather_host(chosen.why_not_nccl);
  for (size_t r = 0; r < reasons.size() && missing.empty(); ++r) {
    if (!reasons[r].empty()) missing = fmt::format("rank {} has {}", r, reasons[r]);
  }
  if (!missing.empty()) chosen.backend = nullptr;
  chosen.why_not_nccl = missing;
#else
  chosen.why_not_nccl = "this build has no NCCL";
#endif
  return chosen;
}

}  // namespace

ChosenCollectives choose_collectives(train::CommunicatorChoice choice, parallel::World& world,
                                     Device& device) {
  const bool asked = choice == train::CommunicatorChoice::nccl;
  const auto everyone = world.split(0, world.rank(), "world");
  ChosenCollectives chosen;
  if (device.kind() != DeviceKind::cuda) {
    if (asked) chosen.why_not_nccl = "this run is not on GPUs";
  } else if (choice != train::CommunicatorChoice::mpi && world.size() > 1) {
    chosen = open_if_possible(world, *everyone, device);
  }
  if (chosen.why_not_nccl.empty()) return chosen;
  if (asked) {
    parallel::on_all_ranks(*everyone, [&] {
      throw UsageError(
          "NCCL cannot be used: " + chosen.why_not_nccl, "parallel.communicator",
          "set it to auto or mpi; or give each rank a GPU of its own, or an NCCL_HOSTID "
          "of its own (docs/gpu.md)");
    });
  }
  if (const size_t gpus = count_gpus(device, *everyone); gpus > 1) {
    // It would run, and many times slower than one GPU: nobody wants that without knowing.
    parallel::on_all_ranks(*everyone, [&] {
      throw UsageError(
          fmt::format("{} GPUs without NCCL: {}", gpus, chosen.why_not_nccl),
          "parallel.communicator",
          "install NCCL, or name it in ELASTRON_NCCL_LIBRARY, and give each rank a GPU of its own; "
          "or set this to mpi to send all tensors through host memory, slowly");
    });
  }
  return chosen;
}

}  // namespace elastron::launch
