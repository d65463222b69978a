#include "report/reproduction/estimate.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "core/error.h"

namespace elastron::report {

namespace {

// The probability that a variable of that distribution is within -t and t.
double student_within(double t, int degrees) {
  const double angle = std::atan(t / std::sqrt(double(degrees)));
  const double sine = std::sin(angle), cosine2 = std::cos(angle) * std::cos(angle);
  const bool odd = degrees % 2 == 1;
  // 1 + 1/2 cos^2 + 1 3 / (2 4) cos^4 + ..., and for odd degrees
  // cos (1 + 2/3 cos^2 + 2 4 / (3 5) cos^4 + ...), up to the power degrees - 2.
  double sum = 0, term = odd ? std::cos(angle) : 1;
  for (int power = odd ? 1 : 0; power <= degrees - 2; power += 2) {
    sum += term;
    term *= cosine2 * (power + 1) / (power + 2);
  }
  return odd ? 2 / std::numbers::pi * (angle + sine * sum) : sine * sum;
}

}  // namespace

double student_95(int degrees) {
  ELASTRON_CHECK(degrees >= 1, "an interval of one value");
  // 12.706 of one degree is the highest, 1.96 of infinitely many the lowest.
  double low = 1, high = 16;
  for (double middle = 0; middle != (low + high) / 2;) {
    middle = (low + high) / 2;
    (student_within(middle, degrees) < 0.95 ? low : high) = middle;
  }
  return (low + high) / 2;
}

std::optional<Estimate> estimate_of(const std::vector<double>& values) {
  if (values.empty()) return {};
  const auto n = double(values.size());
  Estimate estimate{.mean = 0, .low = {}, .high = {}, .seeds = values.size()};
  for (const double v : values) estimate.mean += v / n;
  if (values.size() == 1) return estimate;
  double squares = 0;
  for (const double v : values) squares += (v - estimate.mean) * (v - estimate.mean);
  const double half = student_95(int(values.size()) - 1) * std::sqrt(squares / (n - 1) / n);
  estimate.low = estimate.mean - half;
  estimate.high = estimate.mean + half;
  return estimate;
}

std::string text_of(const Estimate& e) {
  const std::string interval = e.low ? fmt::format(" [{:.3f}, {:.3f}]", *e.low, *e.high) : "";
  return fmt::format("{:.3f}{} ({} seed{})", e.mean, interval, e.seeds, e.seeds == 1 ? "" : "s");
}

}  // namespace elastron::report
