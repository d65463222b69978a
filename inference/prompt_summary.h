// What reading a prompt came to, over all ranks that read it: those of the tensor and the context
// group. Here is what their figures add up to, and nowhere else.
#pragma once
#include <string>
#include <vector>

#include "inference/request.h"
#include "parallel/mesh.h"

namespace elastron::model {
struct RoutedHeads;
}

namespace elastron::inference {

class Engine;

struct PromptSummary {
  std::vector<std::string> gates;  // a line per layer, a letter per kv head: F full, s sparse
  double msr = 0;                  // share of kv heads that were routed sparse
  double esr_tiles = 0;            // share of tiles that were skipped (docs/figures.md)
  double cache_bytes = 0, full_cache_bytes = 0;  // of each head once
};

// What Engine::forward() says of a prompt's heads on this rank. No communication.
PromptFigures figures_of(const Engine& engine, const model::RoutedHeads& heads, int64_t tokens);

// Collective over both groups, on each rank of which the result is the same.
PromptSummary summary_of(const PromptFigures& figures, const parallel::Mesh& mesh);

}  // namespace elastron::inference
