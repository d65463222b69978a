// How long a training step takes on a device of configs/devices, by part, and what limits each:
// operations over reached rates, bytes over reached bandwidths. (floors, sections 1, 2 and 6)
#pragma once
#include <string>
#include <vector>

#include "model/weights/model_config.h"
#include "parallel/mesh_layout.h"
#include "train/config.h"
#include "train/plan/device_spec.h"

namespace elastron::train {

// What shapes do not say.
struct Expected {
  double msr = 0.7;             // share of sparse heads
  int64_t document_tokens = 0;  // mean length; 0: packs of one document
  double xattention = 0.35;     // share of causal pairs that XAttention's blocks hold
};

struct TimePart {
  std::string what, limit;  // "attention backward", "attention rate"
  double seconds = 0;       // of a step and rank
};

struct StepTime {
  std::vector<TimePart> parts;
  double tokens = 0;  // of a step, over all ranks

  double seconds() const;
  double tokens_per_second() const { return tokens / seconds(); }
  const TimePart& longest() const;
};

// Heads are drawn independently: the work of the rank with most of it over the mean, where `ranks`
// split `kv_heads`, a sparse head takes `sparse` of a dense one's work and a share `msr` is sparse.
double head_imbalance(int64_t kv_heads, int ranks, double msr, double sparse);

// train.global_batch is shared by the data ranks, the rest left over counts as one more micro
// batch. Nothing overlaps but the sums of gradients with the last backward pass.
StepTime step_time(const Config& config, const model::ModelConfig& model,
                   const parallel::MeshLayout& layout, const DeviceSpec& device,
                   const Expected& expected);

}  // namespace elastron::train
