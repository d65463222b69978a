// Means and their rounding, as the published programs' Python computes them, and intervals.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace elastron::benchmark {

// round(value, digits): the decimal that is nearest to the double's exact value.
double round_as_python(double value, int digits);
// numpy.round(value, 2): the double nearest to 100 times the value, rounded to even, by 100.
double round_as_numpy(double value);

// sum(values), front to back.
double sum_in_order(std::span<const double> values);
// numpy.mean(values): a sum of eight in turn, by halves from 128 on. Not for no values.
double mean_as_numpy(std::span<const double> values);

inline constexpr int kResamples = 1000;

// Means of `values` drawn with replacement, kResamples times, in the order of their drawing. Draws
// are keyed by `name` (a set's), the resample and the draw, so that a set has the same ones in any
// company. Empty for no values.
std::vector<double> resampled_means(std::span<const double> values, std::string_view name);

struct Interval {
  double low = 0, high = 0;
};
// Where the middle 95 % of resampled means lie: the 25th and the 975th of a thousand. `factor` is
// applied to both, which are rounded to `digits`.
std::optional<Interval> interval_of(std::vector<double> means, double factor, int digits);

}  // namespace elastron::benchmark
