#include "train/step/learning_rates.h"

#include <fmt/format.h>

namespace elastron::train {

bool trains_group(const Config& config, ParameterGroup group) {
  switch (group) {
    case ParameterGroup::lora: return config.trains(Part::lora);
    case ParameterGroup::backbone: return config.trains(Part::backbone);
    case ParameterGroup::head: return config.trains(Part::reward_head);
    case ParameterGroup::router:
    case ParameterGroup::lambda: return config.trains(Part::router);
  }
  return false;
}

Schedule schedule_of(const TrainSection& train) {
  return Schedule::make(train.schedule, train.steps, train.warmup_ratio, train.final_lr_ratio);
}

std::map<ParameterGroup, double> learning_rates(const TrainSection& train, int64_t step) {
  const double multiplier = schedule_of(train).multiplier(step);
  const LearningRates& lr = train.lr;
  return {{ParameterGroup::router, lr.router * multiplier},
          {ParameterGroup::lambda, lr.lambda * multiplier},
          {ParameterGroup::backbone, lr.backbone * multiplier},
          {ParameterGroup::head, lr.head * multiplier},
          {ParameterGroup::lora, lr.lora * multiplier}};
}

std::vector<std::string> rate_jumps(const Config& before, const Config& after, int64_t step) {
  const auto was = learning_rates(before.train, step), is = learning_rates(after.train, step);
  std::vector<std::string> lines;
  for (const auto& [group, name] : kRates) {
    if (!trains_group(after, group) || was.at(group) == is.at(group)) continue;
    lines.push_back(fmt::format("the schedule changes: {} jumps from {:.3g} to {:.3g} at step {}",
                                name, was.at(group), is.at(group), step + 1));
  }
  return lines;
}

}  // namespace elastron::train
