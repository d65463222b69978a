#include "train/plan/memory_plan.h"

#include <fmt/format.h>

namespace elastron::train {

std::string describe_bytes(int64_t bytes) {
  const bool large = bytes >= int64_t(1) << 30;
  return fmt::format("{:.2f} {}", double(bytes) / (large ? 1 << 30 : 1 << 20),
                     large ? "GiB" : "MiB");
}

std::string describe(const MemoryPlan& plan, int64_t tokens) {
  const bool large = plan.total() >= int64_t(1) << 30;
  const double unit = large ? 1 << 30 : 1 << 20;
  return fmt::format(
      "plan for {} tokens: {:.2f} {} = {:.2f} weights and what trains + {:.2f} saved + {:.2f} "
      "working ({})",
      tokens, double(plan.total()) / unit, large ? "GiB" : "MiB", double(plan.held()) / unit,
      double(plan.saved) / unit, double(plan.working) / unit, plan.phase);
}

}  // namespace elastron::train
