// Learning-rate schedule: linear warm-up, then cosine to a floor (docs/method.md, Optimiser).
#pragma once
#include <cstdint>

namespace elastron::train {

enum class ScheduleKind : uint8_t { cosine, constant };

struct Schedule {
  ScheduleKind kind = ScheduleKind::cosine;
  int64_t steps = 1;
  int64_t warmup_steps = 0;
  double final_ratio = 1e-7;

  // Factor on the peak rate at optimiser step `step`, counted from 0. Step 0 of a warm-up has
  // factor 0: the first update moves nothing but the moments.
  double multiplier(int64_t step) const;

  // warm-up = ceil(ratio * steps)
  static Schedule make(ScheduleKind kind, int64_t steps, double warmup_ratio, double final_ratio);
};

}  // namespace elastron::train
