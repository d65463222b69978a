// TensorBoard's names for the figures of metrics.jsonl.
#pragma once
#include <map>
#include <string>

#include "core/json.h"

namespace elastron::train {

// The figures of one metrics object by tag, "train/loss", "router/msr/Code". Figures that have no
// tag, or are not finite, are left out.
std::map<std::string, double> scalars_by_tag(const nlohmann::ordered_json& metrics);

}  // namespace elastron::train
