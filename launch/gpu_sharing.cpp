#include "launch/gpu_sharing.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace elastron::launch {

std::vector<TakenGpu> share_gpus(const std::vector<std::vector<std::string>>& seen) {
  std::vector<size_t> order(seen.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::ranges::stable_sort(order, {}, [&](size_t r) { return seen[r].size(); });
  std::map<std::string, int> ranks_of;
  std::vector<TakenGpu> taken(seen.size());
  for (const size_t r : order) {
    const auto best = std::ranges::min_element(
        seen[r], {}, [&](const std::string& gpu) { return ranks_of[gpu]; });
    if (best == seen[r].end()) continue;
    taken[r].ordinal = int(best - seen[r].begin());
    ++ranks_of[*best];
  }
  for (size_t r = 0; r < seen.size(); ++r) {
    if (taken[r].ordinal >= 0) taken[r].sharers = ranks_of[seen[r][size_t(taken[r].ordinal)]];
  }
  return taken;
}

}  // namespace elastron::launch
