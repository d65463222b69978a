// A plan is a run: one step of a layout's first rank, on a meta device and a mesh that records. The
// model, the optimiser and the step are those of training; what they hold, compute and send is
// written down instead of done.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/meta_device.h"
#include "model/weights/model_config.h"
#include "ops/attention/expectations.h"
#include "ops/kernel_families.h"
#include "parallel/mesh_layout.h"
#include "parallel/recording.h"
#include "train/config.h"
#include "train/plan/memory_plan.h"
#include "train/plan/ranges.h"

namespace elastron::train {

// Expectations that stand in for what shapes do not say.
struct Expected {
  double msr = 0.7;             // share of sparse heads
  int64_t document_tokens = 0;  // mean length; 0: packs of one document
  double xattention = 0.35;     // share of causal pairs that XAttention's blocks hold
};

// Calls of one kind of a rank.
struct PlannedCollective {
  std::string operation;  // as in parallel::RecordedCollective
  std::string axis;
  std::string what;   // for tables
  int64_t bytes = 0;  // of all calls together
  int64_t calls = 0;
  RangeRole role;  // where in the step
};

// How often a GPU is asked for something, whatever the work is.
struct DeviceCalls {
  double launches = 0, host_waits = 0, copies = 0, allocations = 0;
};

struct PlannedStep {
  MemoryPlan memory;
  int64_t rows = 0;  // of the rank, in a micro batch
  // Work of one micro batch and of the update.
  std::vector<RangeRecord> ranges;
  std::vector<PlannedCollective> micro_batch, update;  // collectives
  DeviceCalls layer, whole;                            // of a layer, of a micro batch
};

// `as`: the kind of device; `means`: what a GPU has for attention; `forbidden`: what is not used
// there. A micro batch of more than 2^20 tokens is planned from the first of them, in
// proportion.
PlannedStep plan_step(const Config& config, const model::ModelConfig& model,
                      const parallel::MeshLayout& layout, DeviceKind as, const Expected& expected,
                      const ops::AttentionMeans& means = {},
                      const ops::ForbiddenKernels& forbidden = {});

// The log of a step sorted by what is called where, as PlannedStep has it.
std::vector<PlannedCollective> sorted_collectives(const parallel::CollectiveLog& log);

}  // namespace elastron::train
