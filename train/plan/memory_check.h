// Whether a run fits into memory, asked before anything is allocated, and what to turn if not.
#pragma once
#include <cstdint>
#include <string>

#include "core/device.h"
#include "model/weights/model_config.h"
#include "parallel/mesh_layout.h"
#include "train/config.h"
#include "train/plan/memory_plan.h"

namespace elastron::train {

// For a device that is there: by its own kernels, and with what its library takes in the passes that
// it does.
MemoryPlan planned_memory(const Config& config, const model::ModelConfig& model,
                          const parallel::MeshLayout& layout, Device& device);

// `usable` bytes for this rank (train/plan/usable_memory.h); 0: not known, which passes. Throws UsageError with what is
// needed and the keys to turn, unless train.memory_check says otherwise.
void check_memory(const Config& config, const model::ModelConfig& model,
                  const parallel::MeshLayout& layout, Device& device, int64_t usable);

// The keys that would lower the planned memory, those that save most first: "train.recompute:
// selective (12.3 GiB), ...". `now`: the planned bytes as it is. Empty where none does.
std::string keys_to_turn(const Config& config, const model::ModelConfig& model,
                         const parallel::MeshLayout& layout, DeviceKind device, int64_t now);

}  // namespace elastron::train
