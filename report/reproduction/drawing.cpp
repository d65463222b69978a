#include "report/reproduction/drawing.h"

#include <algorithm>
#include <cmath>

namespace elastron::report {

Curve curve_of(const std::string& name, std::vector<CurvePoint> points, const Measure& measure) {
  std::ranges::stable_sort(points, {}, &CurvePoint::x);
  Curve curve{.name = name, .x = {}, .y = {}, .low = {}, .high = {}};
  bool intervals = false;
  for (const CurvePoint& point : points) {
    const auto value = estimate_of(point.jobs, measure);
    if (!value) continue;
    curve.x.push_back(point.x);
    curve.y.push_back(value->mean);
    curve.low.push_back(value->low.value_or(std::nan("")));
    curve.high.push_back(value->high.value_or(std::nan("")));
    intervals = intervals || value->low;
  }
  if (!intervals) {
    curve.low.clear();
    curve.high.clear();
  }
  return curve;
}

std::vector<CurvePoint> points_at(const std::vector<Place>& places) {
  std::vector<CurvePoint> points;
  for (const Place& place : places) points.push_back({place.number, place.jobs});
  return points;
}

Bar bar_of(const Jobs& jobs, const Measure& measure) {
  const auto value = estimate_of(jobs, measure);
  if (!value) return {};
  return {.value = value->mean, .low = value->low, .high = value->high};
}

void add_curves(Part& part, const std::string& name, const Curves& curves) {
  if (has_values(curves)) part.figures.push_back({name, curves_figure(curves)});
}

void add_bars(Part& part, const std::string& name, const Bars& bars) {
  if (has_values(bars)) part.figures.push_back({name, bars_figure(bars)});
}

}  // namespace elastron::report
