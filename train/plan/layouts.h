// Layouts of ranks for a run: which are possible, what each takes and how fast it is, best first.
#pragma once
#include <vector>

#include "train/plan/step_time.h"

namespace elastron::train {

struct LayoutPlan {
  parallel::MeshLayout layout;
  Config config;  // with the layout's parallel keys, and perhaps another train.recompute
  PlannedStep step;
  StepTime time;
  int64_t usable = 0;  // bytes of a device that the plan may fill
  bool fits = false;

  const MemoryPlan& memory() const { return step.memory; }
};

// Whether the model's heads and widths, the packs of a step and the longest documents go with
// `layout` (with parallel.context_kind). The run itself says the same in its own words.
bool layout_goes(const Config& config, const model::ModelConfig& model,
                 const parallel::MeshLayout& layout);

// The configuration as it is on `layout`.
LayoutPlan plan_layout(const Config& config, const model::ModelConfig& model,
                       const parallel::MeshLayout& layout, const DeviceSpec& device,
                       const Expected& expected);

// All layouts of `ranks` that the model's heads, the batch and the router's mode allow, each with
// the train.recompute that is fastest among those that fit (that takes least, where none does).
// Those that fit first, then by tokens per second. Empty where none is possible.
std::vector<LayoutPlan> rank_layouts(const Config& config, const model::ModelConfig& model,
                                     int ranks, const DeviceSpec& device, const Expected& expected);

// More devices for the same packs per step, or for as many packs per data rank.
struct ScalePlan {
  int ranks = 0;
  LayoutPlan plan;
  double efficiency = 0;  // tokens per second and device, over those of the start
  double spread = 0;      // of that: the mean over the slowest rank's packs
  std::string limit;
};

// `start` grown to `ranks` with more data ranks. Weak: global_batch grows too. Strong: it stays,
// and where data ranks cannot share it evenly the context group grows instead. Packs differ in cost
// by `pack_spread` (standard deviation over mean), so that the slowest of many ranks decides.
ScalePlan scale(const LayoutPlan& start, const model::ModelConfig& model, int ranks, bool weak,
                double pack_spread, const DeviceSpec& device, const Expected& expected);

}  // namespace elastron::train
