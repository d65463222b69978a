// What one rank of a training step holds on a device, from shapes alone: printed before a run, and
// compared with the device's counter in the tests. (floors, section 2)
#pragma once
#include <cstdint>
#include <string>

#include "model/decoder_config.h"
#include "model/weights/model_config.h"

namespace elastron::model {

struct MemoryPlan {
  int64_t weights = 0;  // backbone shards; with a trained backbone also master, gradient, moments
  int64_t saved = 0;    // what all layers keep between forward and backward
  int64_t working = 0;  // the most that one phase needs beside that
  std::string phase;    // which
  int64_t total() const { return weights + saved + working; }
};

// `tokens` of a micro batch. `gate_gradient`: a router is trained, so that both branches' outputs
// are kept. Without the repacked copies of frozen weights that the CPU makes, and without routers
// and their optimiser state, which are small. `attention`: what a library takes beside that.
// `optimizer_ranks` share the state of a trained backbone.
MemoryPlan plan_memory(const ModelConfig& config, const DecoderOptions& options, int tensor_ranks,
                       int64_t tokens, bool gate_gradient,
                       const ops::AttentionWorkspace& attention = {}, int optimizer_ranks = 1);

// "plan for 65536 tokens: 15.3 GiB weights + 18.0 GiB saved + 11.2 GiB working (MLP backward)"
std::string describe(const MemoryPlan& plan, int64_t tokens);

}  // namespace elastron::model
