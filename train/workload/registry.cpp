#include "train/workload/registry.h"

namespace elastron::train {

const Objective& objective_of(const Config& config) {
  for (const ObjectiveRow& row : kObjectives) {
    if (row.name == config.train.objective) return row.objective();
  }
  throw LogicError("unknown objective " + config.train.objective);
}

}  // namespace elastron::train
