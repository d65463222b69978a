// The checkpoint of step 0 of what was not trained here: a training or an evaluation can start
// from it.
#pragma once
#include <string>

#include "core/parameter.h"
#include "model/weights/model_folder.h"
#include "parallel/mesh.h"
#include "train/config.h"

namespace elastron::train {

// Throws UsageError unless `folder` can be a new folder of checkpoints.
void require_new_checkpoint_folder(const std::string& folder);

// Collective. The ranks share the reading of the backbone's bytes. Throws on all ranks.
std::string shared_fingerprint(const model::ModelFolder& backbone, parallel::Mesh& mesh);

// Collective. Makes `folder` and in it the checkpoint: `parameters`, whole on every rank, optimiser
// state zero, at the start of any data. -> the file. Throws on all ranks.
std::string write_checkpoint_of_step_0(const std::string& folder, const Config& config,
                                       const ParameterList& parameters,
                                       const std::string& fingerprint, parallel::Mesh& mesh);

}  // namespace elastron::train
