// The objectives: a row per value of train.objective.
#pragma once
#include <string_view>

#include "train/workload/objective.h"

namespace elastron::train {

// Their names, which checkpoints have too.
inline constexpr std::string_view kPretrain = "pretrain", kRouter = "router", kReward = "reward";

const Objective& pretrain_objective();
const Objective& router_objective();
const Objective& reward_objective();

struct ObjectiveRow {
  std::string_view name;
  const Objective& (*objective)();
};
inline constexpr ObjectiveRow kObjectives[] = {
    {kPretrain, pretrain_objective}, {kRouter, router_objective}, {kReward, reward_objective}};

// The objective that train.objective names, which is one of the rows.
const Objective& objective_of(const Config& config);

}  // namespace elastron::train
