#include "train/step/expert_loads.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace elastron::train {

namespace {

ExpertBalance balance_of(std::span<const int64_t> rows) {
  const double count = double(rows.size());
  const double mean = double(std::accumulate(rows.begin(), rows.end(), int64_t(0))) / count;
  if (mean == 0) return {};
  double squares = 0;
  for (const int64_t n : rows) squares += (double(n) - mean) * (double(n) - mean);
  return {.max = double(*std::ranges::max_element(rows)) / mean,
          .variation = std::sqrt(squares / count) / mean};
}

}  // namespace

void ExpertLoads::add(size_t layer, std::span<const int32_t> bounds) {
  if (layer >= rows_.size()) rows_.resize(layer + 1);
  auto& rows = rows_[layer];
  rows.resize(bounds.size() - 1);
  for (size_t e = 0; e < rows.size(); ++e) rows[e] += bounds[e + 1] - bounds[e];
}

void ExpertLoads::take_out(size_t layer, std::span<const int32_t> chosen) {
  for (const int32_t expert : chosen) --rows_.at(layer).at(size_t(expert));
}

std::optional<ExpertBalance> ExpertLoads::balance(parallel::Communicator& ranks) const {
  std::vector<int64_t> all;
  for (const auto& rows : rows_) all.insert(all.end(), rows.begin(), rows.end());
  if (all.empty()) return {};
  ranks.all_reduce_host(std::span<int64_t>(all), parallel::ReduceOp::sum);
  ExpertBalance mean;
  size_t at = 0;
  for (const auto& rows : rows_) {
    const ExpertBalance own = balance_of(std::span(all).subspan(at, rows.size()));
    mean.max += own.max / double(rows_.size());
    mean.variation += own.variation / double(rows_.size());
    at += rows.size();
  }
  return mean;
}

}  // namespace elastron::train
