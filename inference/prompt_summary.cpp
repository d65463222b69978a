#include "inference/prompt_summary.h"

#include <algorithm>
#include <span>

namespace elastron::inference {

PromptSummary summary_of(const PromptFigures& figures, parallel::Communicator& tensor) {
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
  double sums[] = {figures.visited, figures.dense, double(figures.cache_bytes),
                   double(figures.full_cache_bytes)};
  tensor.all_reduce_host(std::span<double>(sums), parallel::ReduceOp::sum);
  s.msr = all > 0 ? double(sparse) / double(all) : 0;
  s.esr_tiles = sums[1] > 0 ? 1 - sums[0] / sums[1] : 0;
  s.cache_bytes = sums[2];
  s.full_cache_bytes = sums[3];
  return s;
}

}  // namespace elastron::inference
