// Bars with intervals: a group of them per name, one per series.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "report/figure.h"

namespace elastron::report {

struct Bar {
  std::optional<double> value;      // empty: missing
  std::optional<double> low, high;  // 95 % interval
};

struct BarSeries {
  std::string name;
  std::vector<Bar> bars;  // as many as groups
};

// A line over all groups, such as what chance is worth.
struct Level {
  std::string name;
  double value = 0;
};

struct Bars {
  std::string title, note;
  std::string of;  // what the values are
  std::vector<std::string> groups;
  std::vector<BarSeries> series;
  std::vector<Level> levels{};
  // The axis begins at 0 and goes at least to here; empty: to the highest value.
  std::optional<double> up_to{};
};

// Lying bars, so that long names stay readable on a narrow page.
Figure bars_figure(const Bars& bars);
bool has_values(const Bars& bars);

}  // namespace elastron::report
