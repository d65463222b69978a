// How many rows went to each expert, and how evenly that is: counted as they come, added up over the
// ranks that have rows of their own once in a step.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "parallel/communicator.h"
#include "train/step/step_result.h"

namespace elastron::train {

class ExpertLoads {
 public:
  // bounds [experts + 1]: of the rows of a micro batch (ops::ExpertRows). `layer`: of those that have
  // experts, in their order.
  void add(size_t layer, std::span<const int32_t> bounds);
  // chosen: experts of rows that do not count.
  void take_out(size_t layer, std::span<const int32_t> chosen);

  // Collective over `ranks`, each of which has rows of its own. Nothing where no layer has experts.
  std::optional<ExpertBalance> balance(parallel::Communicator& ranks) const;

 private:
  std::vector<std::vector<int64_t>> rows_;  // [layer][expert]
};

}  // namespace elastron::train
