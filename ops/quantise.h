// Weights as e4m3 with a scale per block, as published FP8 folders have them: the scale is the largest
// magnitude of the block over 448 (1 where that is 0), a value is divided by it in float32 and rounded
// to nearest even. On the host: weights are quantised once, while they are loaded.
#pragma once
#include "core/weight_scale.h"

namespace elastron::ops {

struct QuantisedWeight {
  Tensor values;      // e4m3, of the weight's shape
  WeightScale scale;  // begins with the weight
};

// weight [out, in] float32, finite, on the host.
QuantisedWeight quantise(const Tensor& weight, const WeightBlocks& blocks);

}  // namespace elastron::ops
