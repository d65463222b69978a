#include "benchmark/mean_score.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "benchmark/scores/means.h"

namespace elastron::benchmark {

MeanScore mean_score(std::span<const double> scores, std::string_view name) {
  if (scores.empty()) return {};
  return {100 * sum_in_order(scores) / double(scores.size()), resampled_means(scores, name)};
}

MeanScore mean_of(std::span<const MeanScore> means) {
  if (means.empty() || std::ranges::any_of(means, [](const auto& m) { return !m.percent; })) {
    return {};
  }
  MeanScore mean{0.0, std::vector<double>(means.front().resampled.size())};
  for (const MeanScore& each : means) {
    *mean.percent += *each.percent;
    for (size_t i = 0; i < mean.resampled.size(); ++i) mean.resampled[i] += each.resampled[i];
  }
  *mean.percent /= double(means.size());
  for (double& value : mean.resampled) value /= double(means.size());
  return mean;
}

nlohmann::ordered_json mean_json(const MeanScore& mean, int digits) {
  nlohmann::ordered_json object = {{"score", nullptr}, {"interval_95", nullptr}};
  if (mean.percent) object["score"] = round_as_python(*mean.percent, digits);
  if (const auto interval = interval_of(mean.resampled, 100, digits)) {
    object["interval_95"] = {interval->low, interval->high};
  }
  return object;
}

nlohmann::ordered_json or_null(const std::optional<double>& score) {
  return score ? nlohmann::ordered_json(*score) : nlohmann::ordered_json(nullptr);
}

std::string shown(const std::optional<double>& score, int digits) {
  return score ? fmt::format("{:.{}f}", *score, digits) : "missing";
}

std::string shown_interval(const MeanScore& mean, int digits) {
  const auto interval = interval_of(mean.resampled, 100, digits);
  if (!interval) return "";
  return fmt::format("{:.{}f} to {:.{}f}", interval->low, digits, interval->high, digits);
}

}  // namespace elastron::benchmark
