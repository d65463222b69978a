#include "report/plot/ticks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace elastron::report {

namespace {

// The least of ..., 0.1, 0.2, 0.5, 1, 2, 5, 10, ... of which no more than `most` marks, those at
// both ends among them, are within the width.
double step_for(double width, int most) {
  const double raw = width / std::max(most - 1, 1);
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    // Rounding must not make 0.1 out of 0.1.
    if (factor * power >= raw * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

// 1200 as 1.2k, 3e-05 as 3e-5; all labels of an axis have the digits that their step needs.
std::string label_of(double value, double step) {
  if (value == 0) return "0";
  const double size = std::abs(value);
  if (size < 1e-3 || size >= 1e9) {
    const int exponent = int(std::floor(std::log10(size) + 1e-9));
    const int digits = std::max(0, exponent - int(std::floor(std::log10(step) + 1e-9)));
    return fmt::format("{:.{}f}e{}", value / std::pow(10.0, exponent), digits, exponent);
  }
  for (const auto& [unit, name] : {std::pair{1e6, "M"}, std::pair{1e3, "k"}}) {
    if (size < unit || step < unit / 100) continue;
    const int digits = std::max(0, -int(std::floor(std::log10(step / unit) + 1e-9)));
    return fmt::format("{:.{}f}{}", value / unit, digits, name);
  }
  const int digits = std::max(0, -int(std::floor(std::log10(step) + 1e-9)));
  return fmt::format("{:.{}f}", value, digits);
}

}  // namespace

std::vector<Tick> linear_ticks(double low, double high, int most) {
  ELASTRON_CHECK(std::isfinite(low) && std::isfinite(high) && low < high, "the range of an axis");
  const double step = step_for(high - low, most);
  std::vector<Tick> ticks;
  const double slack = step * 1e-6;
  for (double n = std::ceil((low - slack) / step); n * step <= high + slack; ++n) {
    const double value = n * step;
    ticks.push_back({value, label_of(value, step)});
  }
  return ticks;
}

std::vector<Tick> log_ticks(double low, double high, int most) {
  ELASTRON_CHECK(std::isfinite(high) && 0 < low && low < high, "the range of a logarithmic axis");
  const int from = int(std::floor(std::log10(low) + 1e-9));
  const int to = int(std::floor(std::log10(high) + 1e-9));
  const int powers = to - from + 1;
  const std::vector<double> factors = powers <= 2   ? std::vector<double>{1, 2, 5}
                                      : powers <= 3 ? std::vector<double>{1, 3}
                                                    : std::vector<double>{1};
  const int every = std::max(1, (powers + most - 1) / most);
  std::vector<Tick> ticks;
  for (int e = from; e <= to; e += every) {
    for (const double factor : factors) {
      const double value = factor * std::pow(10.0, e);
      if (value < low * (1 - 1e-9) || value > high * (1 + 1e-9)) continue;
      ticks.push_back({value, label_of(value, value)});
    }
  }
  // A narrow range may have none of these.
  return ticks.size() < 2 ? linear_ticks(low, high, most) : ticks;
}

Range linear_range(double low, double high, int most) {
  ELASTRON_CHECK(std::isfinite(low) && std::isfinite(high) && low <= high, "the range of values");
  if (low == high) {
    const double room = low == 0 ? 1 : 0.1 * std::abs(low);
    low -= room;
    high += room;
  }
  // The marks at both ends make it wider, which may take a wider step.
  for (double step = step_for(high - low, most);;) {
    const Range range = {std::floor(low / step + 1e-6) * step,
                         std::ceil(high / step - 1e-6) * step};
    const double wanted = step_for(range.high - range.low, most);
    if (wanted <= step * (1 + 1e-6)) return range;
    step = wanted;
  }
}

}  // namespace elastron::report
