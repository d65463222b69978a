// Means over seeds with their 95 % intervals.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace elastron::report {

// The t > 0 that a variable of Student's distribution with so many degrees of freedom (1 or more)
// stays within, on either side, with probability 0.95. Exact to rounding: the closed forms of
// Abramowitz and Stegun, 26.7.3 and 26.7.4, solved for t.
double student_95(int degrees);

struct Estimate {
  double mean = 0;
  std::optional<double> low, high;  // mean -+ t s / sqrt(n), n - 1 degrees; empty: one value alone
  size_t seeds = 0;                 // values that it is the mean of
};

// Nothing of no value.
std::optional<Estimate> estimate_of(const std::vector<double>& values);

// "0.123 [0.101, 0.145] (3 seeds)".
std::string text_of(const Estimate& estimate);

}  // namespace elastron::report
