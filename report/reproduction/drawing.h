// What jobs measured as curves and bars.
#pragma once
#include <string>
#include <vector>

#include "report/plot/bars.h"
#include "report/plot/curves.h"
#include "report/reproduction/parts.h"
#include "report/reproduction/selection.h"

namespace elastron::report {

// A point of a curve: jobs whose mean is the value, with its interval.
struct CurvePoint {
  double x = 0;
  Jobs jobs;
};
// The points in order of x, without those that have no value.
Curve curve_of(const std::string& name, std::vector<CurvePoint> points, const Measure& measure);
// A point per place, at its number.
std::vector<CurvePoint> points_at(const std::vector<Place>& places);

Bar bar_of(const Jobs& jobs, const Measure& measure);

// The figure, where it has a value.
void add_curves(Part& part, const std::string& name, const Curves& curves);
void add_bars(Part& part, const std::string& name, const Bars& bars);

inline constexpr const char* kIntervals = "means with 95 % intervals over seeds";

}  // namespace elastron::report
