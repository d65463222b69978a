// A mean in percent with its bootstrap interval, and means of such means.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace elastron::benchmark {

struct MeanScore {
  std::optional<double> percent;  // not rounded; nothing: there was nothing to take the mean of
  std::vector<double> resampled;  // means of drawn rows, as shares; as many for every mean
};

// Of scores in [0, 1]. `name` keys the draws (benchmark/scores/means.h).
MeanScore mean_score(std::span<const double> scores, std::string_view name);
// The plain mean of means; missing where any of them is, for a mean over fewer would be another.
MeanScore mean_of(std::span<const MeanScore> means);

// {"score": 12.34, "interval_95": [11.0, 13.5]}, both null where the mean is missing.
nlohmann::ordered_json mean_json(const MeanScore& mean, int digits = 2);
nlohmann::ordered_json or_null(const std::optional<double>& score);
// "12.34", or "missing".
std::string shown(const std::optional<double>& score, int digits = 2);
// "11.00 to 13.50", or nothing.
std::string shown_interval(const MeanScore& mean, int digits = 2);

}  // namespace elastron::benchmark
