// The rotary embedding that a config.json asks for: rope_theta beside rope_scaling (files of
// transformers 4), or all of it in rope_parameters (5), flat or one entry per type of layer; and what
// a configuration puts in the place of its scaling.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "model/weights/config_reader.h"
#include "model/weights/rope_override.h"
#include "ops/rope.h"

namespace elastron::model {

struct RopeSettings {
  ops::RopeRule rule;
  int64_t covered = 0;  // positions for which the rule is meant
};

// `max_position`: the config's max_position_embeddings. Throws InputError for what cannot be computed
// here or contradicts itself; where `instead` has a scaling, that of the config may be any.
// `notices`: lines for people are added.
RopeSettings read_rope(const ConfigReader& config, int64_t max_position,
                       const RopeOverride& instead, std::vector<std::string>& notices);

// Throws a ConfigFault where `rope` is wrong whatever the folder.
void check_rope_override(const RopeOverride& rope);

// Puts the scaling of `instead`, if it has one, into a config.json, under the key that the file uses;
// max_position_embeddings is raised to what is covered then.
void write_rope(nlohmann::ordered_json& config, const RopeOverride& instead,
                const std::string& where);

}  // namespace elastron::model
