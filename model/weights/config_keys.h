// Which keys of a config.json say something about the computation that is not done here, and which
// say nothing about it.
#pragma once
#include <string>
#include <vector>

#include "model/weights/config_reader.h"

namespace elastron::model {

// Throws InputError naming the first key that asks for another computation. Keys that are not known
// become one of the `notices`, lines for people.
void check_config_keys(const ConfigReader& config, std::vector<std::string>& notices);

}  // namespace elastron::model
