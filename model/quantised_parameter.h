// Fills a parameter that is kept as e4m3 with a scale per block (Parameter::scale). Blocks are those
// of the whole weight: any split over a tensor group has the same values and scales.
#pragma once
#include <functional>

#include "core/file/safetensors.h"
#include "core/parameter.h"

namespace elastron::model {

// Puts rows [r0, r1) and columns [c0, c1) of the whole weight into `out`, float32 on the host.
using ReadWindow = std::function<void(const SafetensorsFile::Window& window, Tensor& out)>;

// From the whole weight's numbers, a few rows of blocks at a time. False where they are not finite.
bool fill_quantised(Parameter& p, const ReadWindow& read);

// From a weight that is stored so, values and scales as they are. `scale`: of the whole weight, in
// blocks of the parameter's size. False where values or scales are not numbers.
bool copy_quantised(Parameter& p, const SafetensorsFile& file, const WeightScale& scale,
                    const OnSlice& on_slice);

}  // namespace elastron::model
