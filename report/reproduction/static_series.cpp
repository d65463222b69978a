#include "report/reproduction/static_series.h"

#include <algorithm>
#include <cmath>

namespace elastron::report {

namespace {

// What the sum of as many shares may be off by.
constexpr double kSameMsr = 1e-9;

void add_point(std::vector<StaticPoint>& points, const Jobs& jobs) {
  const auto msr = mean_of(jobs, msr_over(Side::all));
  if (!msr) return;
  // Two asked MSRs may round to the same number of heads.
  for (StaticPoint& point : points) {
    if (std::abs(point.msr - *msr) > kSameMsr) continue;
    point.jobs.insert(point.jobs.end(), jobs.begin(), jobs.end());
    return;
  }
  points.push_back({*msr, jobs});
}

}  // namespace

std::vector<StaticPoint> static_points(const Reproduction& all, std::string_view series) {
  std::vector<StaticPoint> points;
  const auto places = places_of(jobs_of(all, "static", series));
  if (places.empty()) return points;
  add_point(points, jobs_of(all, "static", "full"));
  for (const Place& place : places) add_point(points, place.jobs);
  add_point(points, jobs_of(all, "static", "sparse"));
  std::ranges::stable_sort(points, {}, &StaticPoint::msr);
  return points;
}

std::optional<double> at_msr(const std::vector<StaticPoint>& points, const Measure& measure,
                             double msr) {
  std::optional<double> before_msr, before;
  for (const StaticPoint& point : points) {
    const auto here = mean_of(point.jobs, measure);
    if (!here) continue;
    if (std::abs(point.msr - msr) <= kSameMsr) return here;
    if (point.msr > msr) {
      if (!before) return {};
      return *before + (msr - *before_msr) / (point.msr - *before_msr) * (*here - *before);
    }
    before_msr = point.msr;
    before = here;
  }
  return {};
}

}  // namespace elastron::report
