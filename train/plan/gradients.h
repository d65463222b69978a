// What a configuration trains, as one rank of a layout has it, before there is a model.
#pragma once
#include <cstdint>
#include <vector>

#include "model/weights/model_config.h"
#include "parallel/gradient_reducer.h"
#include "parallel/mesh_layout.h"
#include "train/config.h"

namespace elastron::train {

struct PlannedGradient {
  parallel::GradientPart gradient;
  int64_t value_bytes = 0;
};

// Of the first rank of a tensor group, in the order of Session::objective_parameters().
std::vector<PlannedGradient> planned_gradients(const Config& config, const model::ModelConfig& m,
                                               const parallel::MeshLayout& layout);

}  // namespace elastron::train
