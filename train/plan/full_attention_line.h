// Who computes full attention in a run, in words: what its steps will do.
#pragma once
#include <string>

#include "core/device.h"
#include "model/weights/model_config.h"
#include "ops/attention_means.h"
#include "parallel/mesh.h"
#include "train/config.h"

namespace elastron::train {

// The calls of full attention that a rank's steps make.
ops::FullAttentionQuestion full_attention_question(const Config& config,
                                                   const model::ModelConfig& model,
                                                   const parallel::MeshLayout& layout);

// "by cuDNN 9.19.0 from 1024 tokens on"; nothing where there is nothing to choose: on the CPU, in
// float32, and where the configuration says `own`.
std::string full_attention_line(const Config& config, const model::ModelConfig& model,
                                const parallel::MeshLayout& layout, Device& device);

}  // namespace elastron::train
