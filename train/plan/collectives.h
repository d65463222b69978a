// The collectives of a training step, as one rank of a layout calls them: what Mesh::recording()
// would write down, by closed formulas, which a test compares with its log.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "model/weights/model_config.h"
#include "parallel/mesh_layout.h"
#include "train/config.h"

namespace elastron::train {

struct PlannedCollective {
  std::string operation;  // as in parallel::RecordedCollective
  std::string axis;
  std::string what;   // for tables
  int64_t bytes = 0;  // of all calls together
  int64_t calls = 0;
};

// What a micro batch brings.
struct StepTokens {
  int64_t tokens = 0;  // of the whole micro batch
  int64_t labels = 0;  // of this rank
  int64_t documents = 1;
  int64_t pooled_rows = 0;  // that the routers read: at most two budgets of a document
};

StepTokens step_tokens(const Config& config, const parallel::MeshLayout& layout);

// Of one micro batch. Without the host's small sums of figures; axes of one rank are left out.
std::vector<PlannedCollective> micro_batch_collectives(const Config& config,
                                                       const model::ModelConfig& model,
                                                       const parallel::MeshLayout& layout,
                                                       const StepTokens& step);
// Once per step: gradients, and a shared optimiser's values.
std::vector<PlannedCollective> step_collectives(const Config& config,
                                                const model::ModelConfig& model,
                                                const parallel::MeshLayout& layout);

}  // namespace elastron::train
