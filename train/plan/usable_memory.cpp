#include "train/plan/usable_memory.h"

#include <algorithm>

#include "ops/timed_products.h"

namespace elastron::train {

namespace {

constexpr int64_t kMiB = int64_t(1) << 20;
// NCCL: up to 32 channels of 4 MiB (NCCL_BUFFSIZE) to send and to receive.
constexpr int64_t kCollectives = 256 * kMiB;
constexpr int64_t kContext = 512 * kMiB, kModules = 512 * kMiB;

}  // namespace

double usable_share(DeviceKind kind) { return kind == DeviceKind::cuda ? 0.94 : 0.90; }

OutsidePlan outside_plan(const parallel::MeshLayout& layout, DeviceKind kind) {
  OutsidePlan outside;
  if (kind != DeviceKind::cuda) return outside;
  outside.context = kContext;
  outside.modules = kModules;
  // The mesh's groups: world, data, context, tensor, and data x context.
  for (const int ranks :
       {layout.ranks(), layout.data, layout.context, layout.tensor, layout.data * layout.context}) {
    if (ranks > 1) outside.collectives += kCollectives;
  }
  outside.tuning = ops::kTimingScratch;
  return outside;
}

int64_t usable_memory(double total, double share, const OutsidePlan& outside) {
  const auto usable = int64_t(std::min(share * total, total - double(outside.total())));
  return std::max<int64_t>(usable, total > 0 ? 1 : 0);
}

int64_t usable_memory_now(int64_t total, int64_t free, int sharers, double share,
                          const OutsidePlan& outside) {
  const int64_t others = std::max<int64_t>(total - free - sharers * outside.context, 0);
  // Each rank's share of the device, as if it were a smaller one.
  const double own = double(total - others) / sharers;
  return usable_memory(own, share, outside);
}

}  // namespace elastron::train
