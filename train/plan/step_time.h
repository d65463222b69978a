// How long a training step takes on a device of configs/devices, by part, and what limits each:
// operations over reached rates, bytes over reached bandwidths, of what a planned step wrote down
// (docs/method.md, Work and time).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "model/weights/model_config.h"
#include "parallel/mesh_layout.h"
#include "train/config.h"
#include "train/plan/device_spec.h"
#include "train/plan/planned_step.h"

namespace elastron::train {

// Where in a step a part is. Collectives have their own place: simulate.cpp.
enum class Phase : uint8_t { forward, backward, loss, collectives, end };

struct TimePart {
  std::string what, limit;  // "attention backward", "attention rate"
  double seconds = 0;       // of a step and rank
  Phase phase = Phase::end;
  bool selected = false;  // attention of the selected branches: longer with more dense heads
};

struct StepTime {
  std::vector<TimePart> parts;
  double tokens = 0;         // of a step, over all ranks
  double micro_batches = 0;  // of a data rank
  // Selected attention of the rank with most of it over the mean, and a sparse head's over a dense
  // one's.
  double uneven = 1, sparse = 1;

  double seconds() const;
  double tokens_per_second() const { return tokens / seconds(); }
  const TimePart& longest() const;
};

// Heads are drawn independently: the work of the rank with most of it over the mean, where `ranks`
// split `kv_heads`, a sparse head takes `sparse` of a dense one's work and a share `msr` is sparse.
double head_imbalance(int64_t kv_heads, int ranks, double msr, double sparse);

// Nothing but a link: all calls of a collective, as a group of the layout makes them. Neighbours in
// the order tensor, context, data share a machine.
double collective_seconds(const PlannedCollective& collective, const parallel::MeshLayout& layout,
                          const DeviceSpec& device);

// train.global_batch is shared by the data ranks, the rest left over counts as one more micro
// batch. Nothing overlaps but the sums of gradients with the last backward pass.
StepTime step_time(const Config& config, const model::ModelConfig& model,
                   const parallel::MeshLayout& layout, const DeviceSpec& device,
                   const Expected& expected, const PlannedStep& step);

}  // namespace elastron::train
