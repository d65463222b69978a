// Parameters of the decoder that are not split over the tensor-parallel group.
#pragma once
#include <string>

#include "core/parameter.h"
#include "model/decoder_config.h"

namespace elastron::model {

// Allocates an uninitialised weight; with options.train_backbone also its master and gradient.
Parameter replicated_weight(const std::string& name, const Shape& shape,
                            const DecoderOptions& options, Device& device);

}  // namespace elastron::model
