#include "benchmark/scores/means.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <numeric>

#include "core/error.h"
#include "core/philox.h"

namespace elastron::benchmark {

namespace {

// The sum as numpy's add.reduce has it for contiguous doubles.
double pairwise_sum(std::span<const double> values) {
  constexpr size_t kLanes = 8, kBlock = 128;
  const size_t n = values.size();
  if (n < kLanes) return std::accumulate(values.begin(), values.end(), 0.0);
  if (n > kBlock) {
    const size_t half = n / 2 - n / 2 % kLanes;
    return pairwise_sum(values.first(half)) + pairwise_sum(values.subspan(half));
  }
  std::array<double, kLanes> lanes;
  std::copy_n(values.begin(), kLanes, lanes.begin());
  const size_t whole = n - n % kLanes;
  for (size_t i = kLanes; i < whole; ++i) lanes[i % kLanes] += values[i];
  const double sum = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
                     ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
  return std::accumulate(values.begin() + ptrdiff_t(whole), values.end(), sum);
}

}  // namespace

double round_as_python(double value, int digits) {
  // Both fmt and strtod are exact, and ties of the exact value go to even.
  return std::strtod(fmt::format("{:.{}f}", value, digits).c_str(), nullptr);
}

double round_as_numpy(double value) { return std::nearbyint(value * 100.0) / 100.0; }

double sum_in_order(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

double mean_as_numpy(std::span<const double> values) {
  ELASTRON_CHECK(!values.empty(), "the mean of no values");
  return pairwise_sum(values) / double(values.size());
}

std::vector<double> resampled_means(std::span<const double> values, std::string_view name) {
  std::vector<double> means;
  if (values.empty()) return means;
  const auto purpose = RandomPurpose(random_coordinate("bootstrap of a benchmark"));
  means.reserve(kResamples);
  for (uint32_t resample = 0; resample < uint32_t(kResamples); ++resample) {
    RandomStream draws(0, purpose, random_coordinate(name), resample);
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      sum += values[draws.next_below(uint32_t(values.size()))];
    }
    means.push_back(sum / double(values.size()));
  }
  return means;
}

std::optional<Interval> interval_of(std::vector<double> means, double factor, int digits) {
  if (means.empty()) return {};
  std::ranges::sort(means);
  const size_t tail = means.size() / 40;
  const auto shown = [&](double mean) { return round_as_python(factor * mean, digits); };
  return Interval{shown(means[tail > 0 ? tail - 1 : 0]), shown(means[means.size() - 1 - tail])};
}

}  // namespace elastron::benchmark
