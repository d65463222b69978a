// Which keys of a config.json say something about the computation that is not done here, and which
// say nothing about it.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "model/weights/config_reader.h"

namespace elastron::model {

// Throws InputError naming the first key that asks for another computation. Keys that are not known
// become one of the `notices`, lines for people. `experts`: of a family that has them, so that their
// keys are read (model/weights/expert_config.h).
void check_config_keys(const ConfigReader& config, bool experts, std::vector<std::string>& notices);

// Why a key says nothing about what is computed here; "" of one that does, or that is not known.
std::string_view why_harmless(std::string_view key);

}  // namespace elastron::model
