// Curves over lengths: accuracy in words, costs in tokens.
#include <algorithm>

#include "report/reproduction/drawing.h"

namespace elastron::report {

namespace {

constexpr const char* kSeries[] = {"full", "elastic", "sparse"};

// A curve per series of the figure.
Curves by_series(const Reproduction& all, std::string_view figure, const Measure& measure) {
  Curves curves;
  curves.logarithmic_x = true;
  curves.note = kIntervals;
  for (const char* series : kSeries) {
    const auto places = places_of(jobs_of(all, figure, series));
    if (!places.empty()) curves.curves.push_back(curve_of(series, points_at(places), measure));
  }
  return curves;
}

void add(Part& part, Curves curves, const std::string& name, const std::string& title,
         const std::string& of) {
  std::erase_if(curves.curves, [](const Curve& curve) { return curve.x.empty(); });
  curves.title = title;
  curves.of = of;
  add_curves(part, name, curves);
}

// Seconds against those of full attention, beside what counting operations says.
Curves prefill_ratios(const Reproduction& all) {
  const auto full = places_of(jobs_of(all, "cost", "full"));
  const Measure seconds = cost_of(&CostResult::prefill_seconds);
  const Measure ratio = [=](const Job& job) -> std::optional<double> {
    const auto other = std::ranges::find(full, job.at, &Place::at);
    if (other == full.end()) return {};
    const auto whole = mean_of(other->jobs, seconds), here = seconds(job);
    if (!whole || !here || *whole == 0) return {};
    return *here / *whole;
  };
  Curves curves;
  curves.logarithmic_x = true;
  curves.note = "seconds of full attention are 1; arithmetic: by the number of operations";
  for (const char* series : {"elastic", "sparse"}) {
    const auto places = places_of(jobs_of(all, "cost", series));
    if (places.empty()) continue;
    curves.curves.push_back(curve_of(series, points_at(places), ratio));
    curves.curves.push_back(curve_of(std::string(series) + ", arithmetic", points_at(places),
                                     cost_of(&CostResult::arithmetic_prefill)));
  }
  return curves;
}

}  // namespace

Part lengths_part(const Reproduction& all) {
  Part part{.title = "Lengths beyond training",
            .text = "The same routers on longer documents than they were trained on.",
            .tables = {},
            .figures = {}};
  for (const Side side : {Side::all, Side::sensitive, Side::robust}) {
    const std::string name = side == Side::all         ? "lengths-mixture"
                             : side == Side::sensitive ? "lengths-sensitive"
                                                       : "lengths-robust";
    Curves accuracy = by_series(all, "lengths", accuracy_over(side));
    accuracy.shares = true;
    add(part, accuracy, name, "Accuracy on " + std::string(name_of(side)), "words");
  }
  Curves msr;
  msr.logarithmic_x = true;
  msr.shares = true;
  msr.note = kIntervals;
  const auto places = places_of(jobs_of(all, "lengths", "elastic"));
  for (const Side side : {Side::sensitive, Side::robust}) {
    msr.curves.push_back(curve_of(std::string(name_of(side)), points_at(places), msr_over(side)));
  }
  add(part, msr, "lengths-msr", "MSR of elastic routers", "words");
  return part;
}

Part cost_part(const Reproduction& all) {
  Part part{.title = "What it costs",
            .text = "Measured on the machine above, by the number of tokens of a prompt.",
            .tables = {},
            .figures = {}};
  const auto curves = [&](std::optional<double> CostResult::*member, const char* name,
                          const char* title) {
    add(part, by_series(all, "cost", cost_of(member)), name, title, "tokens");
  };
  curves(&CostResult::prefill_seconds, "cost-prefill", "Prefill (s)");
  add(part, prefill_ratios(all), "cost-prefill-ratio", "Prefill against full attention", "tokens");
  curves(&CostResult::decode_tokens_per_second, "cost-decode", "Decoding (tokens per second)");
  curves(&CostResult::cache_bytes, "cost-cache", "Cache (bytes)");
  curves(&CostResult::tiles_visited, "cost-tiles", "Share of tiles that are visited");
  curves(&CostResult::msr, "cost-msr", "MSR");
  return part;
}

}  // namespace elastron::report
