#include "inference/prompt_summary.h"

#include <algorithm>
#include <span>

#include "inference/engine.h"

namespace elastron::inference {

PromptFigures figures_of(const Engine& engine, const model::RoutedHeads& heads, int64_t tokens) {
  PromptFigures figures{.tokens = tokens};
  for (size_t l = 0; l < heads.gates.size(); ++l) {
    figures.gates.push_back(heads.gates[l].to_vector<uint8_t>());
    for (const int64_t n : heads.visited[l].to_vector<int64_t>()) figures.visited += double(n);
    figures.dense += double(engine.dense_tiles(tokens)) * double(figures.gates.back().size());
  }
  return figures;
}

PromptSummary summary_of(const PromptFigures& figures, const parallel::Mesh& mesh) {
  parallel::Communicator& tensor = mesh.tensor();
  PromptSummary s;
  std::string mine;
  for (const auto& layer : figures.gates) {
    for (const uint8_t z : layer) mine += z != 0 ? 'F' : 's';
  }
  const auto parts = tensor.all_gather_host(mine);
  const size_t heads = figures.gates.empty() ? 0 : figures.gates.front().size();
  int64_t sparse = 0, all = 0;
  for (size_t layer = 0; layer < figures.gates.size(); ++layer) {
    std::string line;
    for (const std::string& part : parts) line += part.substr(layer * heads, heads);
    sparse += std::ranges::count(line, 's');
    all += int64_t(line.size());
    s.gates.push_back(std::move(line));
  }
  // Context ranks have rows of the same heads; what full attention sees each of them knows whole.
  double sums[] = {figures.visited, double(figures.cache_bytes), double(figures.full_cache_bytes),
                   figures.dense};
  mesh.context().all_reduce_host(std::span<double>(sums).first(3), parallel::ReduceOp::sum);
  tensor.all_reduce_host(std::span<double>(sums), parallel::ReduceOp::sum);
  s.msr = all > 0 ? double(sparse) / double(all) : 0;
  s.esr_tiles = sums[3] > 0 ? 1 - sums[0] / sums[3] : 0;
  s.cache_bytes = sums[1] / double(figures.cache_copies);
  s.full_cache_bytes = sums[2] / double(figures.cache_copies);
  return s;
}

}  // namespace elastron::inference
