#include "data/balance.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace elastron::data {

namespace {

using Dealt = std::vector<std::vector<int64_t>>;

// Exchanges the pair of two ranks' indices that brings their sums closest; false where none lowers
// the larger sum.
bool exchange(std::span<const double> costs, std::vector<int64_t>& heavy,
              std::vector<int64_t>& light, double& heavy_sum, double& light_sum) {
  const double gap = heavy_sum - light_sum;
  double best = 0;
  size_t from = 0, to = 0;
  for (size_t i = 0; i < heavy.size(); ++i) {
    for (size_t j = 0; j < light.size(); ++j) {
      const double moved = costs[size_t(heavy[i])] - costs[size_t(light[j])];
      const double gain = std::min(moved, gap - moved);  // of the larger sum, up to half the gap
      if (gain > best) {
        best = gain;
        from = i;
        to = j;
      }
    }
  }
  // A difference that rounding could reverse is no gain.
  if (best <= 1e-9 * heavy_sum) return false;
  const double moved = costs[size_t(heavy[from])] - costs[size_t(light[to])];
  std::swap(heavy[from], light[to]);
  heavy_sum -= moved;
  light_sum += moved;
  return true;
}

}  // namespace

Dealt round_robin(int64_t count, int ranks) {
  Dealt of_rank(static_cast<size_t>(ranks));
  for (int64_t i = 0; i < count; ++i) of_rank[size_t(i % ranks)].push_back(i);
  return of_rank;
}

Dealt balance(std::span<const double> costs, int ranks) {
  const auto count = int64_t(costs.size());
  ELASTRON_CHECK(ranks > 0 && count % ranks == 0, "as many micro batches for each rank");
  if (ranks == 1 || count <= ranks) return round_robin(count, ranks);

  std::vector<int64_t> by_cost(static_cast<size_t>(count));
  std::iota(by_cost.begin(), by_cost.end(), 0);
  std::ranges::stable_sort(by_cost, std::greater{}, [&](int64_t i) { return costs[size_t(i)]; });
  Dealt of_rank(static_cast<size_t>(ranks));
  std::vector<double> sums(of_rank.size(), 0.0);
  for (const int64_t i : by_cost) {
    size_t to = of_rank.size();
    for (size_t r = 0; r < of_rank.size(); ++r) {
      if (int64_t(of_rank[r].size()) == count / ranks) continue;
      if (to == of_rank.size() || sums[r] < sums[to]) to = r;
    }
    of_rank[to].push_back(i);
    sums[to] += costs[size_t(i)];
  }

  // The heaviest rank, with the lightest that it can exchange with. Each exchange lowers the sum of
  // squares; the bound is for the time only.
  for (int64_t exchanges = 0; exchanges < 4 * count; ++exchanges) {
    std::vector<size_t> order(of_rank.size());
    std::iota(order.begin(), order.end(), size_t(0));
    std::ranges::stable_sort(order, std::less{}, [&](size_t r) { return sums[r]; });
    const size_t heavy = order.back();
    order.pop_back();
    if (std::ranges::none_of(order, [&](size_t light) {
          return exchange(costs, of_rank[heavy], of_rank[light], sums[heavy], sums[light]);
        })) {
      break;
    }
  }
  for (auto& own : of_rank) std::ranges::sort(own);
  // Never worse than what it replaces.
  Dealt plain = round_robin(count, ranks);
  return imbalance(costs, of_rank) < imbalance(costs, plain) ? of_rank : plain;
}

double imbalance(std::span<const double> costs, const Dealt& of_rank) {
  double most = 0, all = 0;
  for (const auto& own : of_rank) {
    double sum = 0;
    for (const int64_t i : own) sum += costs[size_t(i)];
    most = std::max(most, sum);
    all += sum;
  }
  return all > 0 ? most * double(of_rank.size()) / all : 1.0;
}

}  // namespace elastron::data
