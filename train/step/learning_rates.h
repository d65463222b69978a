// The learning rate of each group of parameters at a step.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "train/config.h"

namespace elastron::train {

// Groups by their names in metrics.jsonl; of those that train, the first one's rate stands for the
// run's.
inline constexpr std::pair<ParameterGroup, const char*> kRates[] = {
    {ParameterGroup::lora, "lr_lora"},
    {ParameterGroup::backbone, "lr_backbone"},
    {ParameterGroup::head, "lr_head"},
    {ParameterGroup::router, "lr_router"},
    {ParameterGroup::lambda, "lr_lambda"}};

constexpr const char* rate_name(ParameterGroup group) {
  for (const auto& [of, name] : kRates) {
    if (of == group) return name;
  }
  return "";
}

bool trains_group(const Config& config, ParameterGroup group);

Schedule schedule_of(const TrainSection& train);
// The rates of the update that makes step `step` + 1.
std::map<ParameterGroup, double> learning_rates(const TrainSection& train, int64_t step);

// A line for each rate that is not what it would have been, where a run goes on at `step` under
// another configuration.
std::vector<std::string> rate_jumps(const Config& before, const Config& after, int64_t step);

}  // namespace elastron::train
