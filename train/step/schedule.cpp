#include "train/step/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace elastron::train {

Schedule Schedule::make(ScheduleKind kind, int64_t steps, double warmup_ratio, double final_ratio) {
  // The small slack keeps 0.2 * 300 at 60, not 61.
  const auto warmup = int64_t(std::ceil(warmup_ratio * double(steps) - 1e-9));
  return {kind, steps, std::clamp<int64_t>(warmup, 0, steps), final_ratio};
}

double Schedule::multiplier(int64_t step) const {
  if (step < warmup_steps) return double(step) / double(warmup_steps);
  if (kind == ScheduleKind::constant) return 1.0;
  const int64_t decay_steps = std::max<int64_t>(steps - warmup_steps, 1);
  const double progress = std::min(double(step - warmup_steps) / double(decay_steps), 1.0);
  return final_ratio + (1.0 - final_ratio) * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
}

}  // namespace elastron::train
