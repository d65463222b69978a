// The rotary embedding that a config.json asks for: rope_theta beside rope_scaling (files of
// transformers 4), or all of it in rope_parameters (5), flat or one entry per type of layer.
#pragma once
#include <string>
#include <vector>

#include "model/weights/config_reader.h"
#include "ops/rope.h"

namespace elastron::model {

// Throws InputError for what cannot be computed here or contradicts itself. `notices`: lines for
// people are added.
ops::RopeRule read_rope(const ConfigReader& config, std::vector<std::string>& notices);

}  // namespace elastron::model
