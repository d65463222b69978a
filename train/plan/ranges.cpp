#include "train/plan/ranges.h"

#include <algorithm>

namespace elastron::train {

RangeRole RangeRole::within(std::string_view name) const {
  RangeRole role = *this;
  if (name == "micro batch") role.part = StepPart::micro_batch;
  if (name == "layer") role.part = StepPart::layer;
  if (name == "layer backward") role.part = StepPart::layer_backward;
  if (name == "head and loss") role.part = StepPart::loss;
  // Those that are read in a micro batch are of another one; a step of one reads them behind it.
  if (name == "figures" && part == StepPart::outside) role.part = StepPart::figures;
  if (name == "gradient reduction" || name == "optimizer") role.part = StepPart::update;
  if (name == "again") role.again = true;
  if (name == "router") role.router = true;
  if (name == "MLP" || name == "gate and up" || name == "MLP backward") role.mlp = true;
  return role;
}

RangeRole RangeRole::of_path(std::string_view path) {
  RangeRole role;
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    role = role.within(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return role;
}

std::vector<RangeRole> roles_of(const std::vector<RangeRecord>& ranges) {
  std::vector<RangeRole> roles(ranges.size());
  // A range stands behind the one that it is in.
  for (size_t i = 0; i < ranges.size(); ++i) {
    for (const size_t child : ranges[i].children)
      roles[child] = roles[i].within(ranges[child].name);
  }
  return roles;
}

}  // namespace elastron::train
