// Where in a training step a range of core/trace.h is: how what was written down there counts.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/meta_device.h"

namespace elastron::train {

enum class StepPart : uint8_t {
  outside,      // between micro batches
  micro_batch,  // before, between and behind the layers
  layer,        // forward
  layer_backward,
  loss,
  figures,  // of a micro batch that is over
  update,   // sums of gradients, optimiser
};

struct RangeRole {
  StepPart part = StepPart::outside;
  bool again = false;   // computed a second time, in the backward pass
  bool router = false;  // decides gates
  bool mlp = false;     // the second half of a layer

  // The role of the range `name` within this one.
  RangeRole within(std::string_view name) const;
  // The role of the innermost range of a path "micro batch/layer/MLP".
  static RangeRole of_path(std::string_view path);
  bool in_layers() const { return part == StepPart::layer || part == StepPart::layer_backward; }
};

// The role of each of a device's ranges.
std::vector<RangeRole> roles_of(const std::vector<RangeRecord>& ranges);

}  // namespace elastron::train
