// How long a training step takes on a device of configs/devices, by part, and what limits each:
// operations over reached rates, bytes over reached bandwidths. (docs/method.md, Work and time)
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "model/weights/model_config.h"
#include "parallel/mesh_layout.h"
#include "train/config.h"
#include "train/plan/collectives.h"
#include "train/plan/device_spec.h"

namespace elastron::train {

// What shapes do not say.
struct Expected {
  double msr = 0.7;             // share of sparse heads
  int64_t document_tokens = 0;  // mean length; 0: packs of one document
  double xattention = 0.35;     // share of causal pairs that XAttention's blocks hold
};

// Where in a step a part is. Collectives have their own place: simulate.cpp.
enum class Phase : uint8_t { forward, backward, layers, loss, collectives, end };

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
                   const Expected& expected);

}  // namespace elastron::train
