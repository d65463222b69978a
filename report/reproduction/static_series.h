// Accuracy against MSR where the same heads are sparse for every document.
#pragma once
#include <optional>
#include <string_view>
#include <vector>

#include "report/reproduction/selection.h"

namespace elastron::report {

// The static series of the paper's Figure 2, in its order.
inline constexpr std::string_view kStaticSeries[] = {"random", "scores", "l0"};

// Jobs of one MSR.
struct StaticPoint {
  double msr = 0;  // measured, mean over all kinds and over the jobs
  Jobs jobs;       // its draws or seeds
};

// The points of a series, their MSR rising and no two of the same: with full attention as the first
// and all-sparse as the last one, where these jobs are there. Empty where the series is not.
std::vector<StaticPoint> static_points(const Reproduction& all, std::string_view series);

// The mean of the measure over the points' jobs at that MSR, between two points in a straight line.
// Nothing outside of the points.
std::optional<double> at_msr(const std::vector<StaticPoint>& points, const Measure& measure,
                             double msr);

}  // namespace elastron::report
