// What reading a prompt came to, over all ranks of the tensor group.
#pragma once
#include <string>
#include <vector>

#include "inference/request.h"
#include "parallel/communicator.h"

namespace elastron::inference {

struct PromptSummary {
  std::vector<std::string> gates;  // a line per layer, a letter per kv head: F full, s sparse
  double msr = 0;                  // share of kv heads that were routed sparse
  double esr_tiles = 0;            // share of tiles that were skipped (docs/figures.md)
  double cache_bytes = 0, full_cache_bytes = 0;
};

// Collective over the group, on each rank of which the result is the same.
PromptSummary summary_of(const PromptFigures& figures, parallel::Communicator& tensor);

}  // namespace elastron::inference
