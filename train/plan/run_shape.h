// What a configuration makes of a model, before there is one: the decoder's options, and the shapes
// that its memory is planned from.
#pragma once
#include <cstdint>

#include "core/device.h"
#include "model/decoder_config.h"
#include "model/memory_plan.h"
#include "model/weights/model_config.h"
#include "parallel/mesh_layout.h"
#include "train/config.h"

namespace elastron::train {

model::DecoderOptions decoder_options(const Config& config, bool training);

// Tokens of a micro batch as long as it may be.
int64_t micro_batch_tokens(const Config& config);

// Whether anything below the loss trains: then there is a backward pass.
bool trains_decoder(const Config& config);

// Whether the model's heads and widths, the packs of a step and the longest documents go with
// `layout` (with parallel.context_kind). The run itself says the same in its own words.
bool layout_goes(const Config& config, const model::ModelConfig& model,
                 const parallel::MeshLayout& layout);

// Of a training step's micro batch on any rank of `layout`. Without what a library takes for
// attention.
model::MemoryShape memory_shape(const Config& config, const parallel::MeshLayout& layout,
                                DeviceKind device);

// For a device that is there: with what its library takes.
model::MemoryPlan planned_memory(const Config& config, const model::ModelConfig& model,
                                 const parallel::MeshLayout& layout, Device& device);

// Before anything is allocated. `available` bytes for this rank; 0: not known, which passes. Throws
// UsageError with what is needed and the keys to turn, unless train.memory_check says otherwise.
void check_memory(const Config& config, const model::ModelConfig& model,
                  const parallel::MeshLayout& layout, Device& device, int64_t available);

// The keys that would lower the planned memory, those that save most first: "train.recompute:
// selective (12.3 GiB), ...". Empty where none does.
std::string keys_to_turn(const Config& config, const model::ModelConfig& model,
                         const parallel::MeshLayout& layout, DeviceKind device);

}  // namespace elastron::train
