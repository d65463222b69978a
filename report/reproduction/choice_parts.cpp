// Figure 14 and the choices beside it, kinds that routers never saw, reward models: bars.
#include <algorithm>

#include "report/reproduction/drawing.h"

namespace elastron::report {

namespace {

constexpr const char* kFilePrefix = "fig14-";

// Bars by place, of each series a bar per measure.
Bars bars_by_place(const Jobs& jobs, const std::vector<std::pair<std::string, Measure>>& measures) {
  Bars bars;
  const auto series = series_of(jobs);
  for (const Place& place : places_of(jobs)) bars.groups.push_back(place.at);
  for (const std::string& name : series) {
    Jobs of_series;
    std::ranges::copy_if(jobs, std::back_inserter(of_series),
                         [&](const Job* job) { return job->series == name; });
    for (const auto& [what, measure] : measures) {
      BarSeries each{.name = series.size() == 1 ? what : name + ", " + what, .bars = {}};
      for (const std::string& group : bars.groups) {
        each.bars.push_back(bar_of(at_place(of_series, group), measure));
      }
      bars.series.push_back(std::move(each));
    }
  }
  return bars;
}

void add_shares(Part& part, const std::string& name, const char* title, const char* of, Bars bars) {
  bars.title = title;
  bars.note = kIntervals;
  bars.of = of;
  bars.up_to = 1;
  add_bars(part, name, bars);
}

std::vector<std::pair<std::string, Measure>> by_side(Measure (*over)(Side)) {
  std::vector<std::pair<std::string, Measure>> measures;
  for (const Side side : {Side::sensitive, Side::robust}) {
    measures.emplace_back(name_of(side), over(side));
  }
  return measures;
}

// Of the kind that the job's place names.
Measure of_own_kind(Measure (*of_kind)(const std::string&)) {
  return [=](const Job& job) { return of_kind(job.at)(job); };
}

}  // namespace

Part choices_part(const Reproduction& all, std::string_view figure) {
  const auto known = std::ranges::find(kReproducedFigures, figure, &ReproducedFigure::id);
  const std::string title(known->title);
  Part part{.title = known->paper == "Fig. 14" ? "Figure 14: " + title : title,
            .text = "Accuracy and MSR of routers that differ in nothing else.",
            .tables = {},
            .figures = {}};
  const Jobs jobs = jobs_of(all, figure);
  const std::string name =
      (known->paper == "Fig. 14" ? kFilePrefix : "") + std::string(figure) + "-";
  add_shares(part, name + "accuracy", "Accuracy", "accuracy",
             bars_by_place(jobs, by_side(accuracy_over)));
  Jobs routed;
  std::ranges::copy_if(jobs, std::back_inserter(routed), [](const Job* job) {
    return job->series != "full" && job->series != "sparse";
  });
  add_shares(part, name + "msr", "MSR", "MSR", bars_by_place(routed, by_side(msr_over)));
  return part;
}

Part unseen_part(const Reproduction& all) {
  Part part{.title = "Kinds that routers never saw",
            .text =
                "Routers that were trained without the kind (elastic), and with it (seen), on "
                "this kind.",
            .tables = {},
            .figures = {}};
  const Jobs jobs = jobs_of(all, "unseen");
  add_shares(part, "unseen-accuracy", "Accuracy on the kind", "accuracy",
             bars_by_place(jobs, {{"accuracy", of_own_kind(accuracy_of_kind)}}));
  add_shares(part, "unseen-msr", "MSR on the kind", "MSR",
             bars_by_place(jobs, {{"MSR", of_own_kind(msr_of_kind)}}));
  return part;
}

Part reward_part(const Reproduction& all) {
  Part part{.title = "Reward model",
            .text = "Pairs that the model judges right, by its heads.",
            .tables = {},
            .figures = {}};
  Bars bars{.title = "Accuracy on pairs",
            .note = "95 % intervals over seeds, over pairs where there is one seed",
            .of = "accuracy",
            .up_to = 1};
  BarSeries accuracy{.name = "accuracy", .bars = {}};
  const Jobs jobs = jobs_of(all, "reward");
  for (const std::string& series : series_of(jobs)) {
    const Jobs of_series = jobs_of(all, "reward", series);
    Bar bar = bar_of(of_series, reward_accuracy());
    if (of_series.size() == 1) {
      const auto& only = std::get<RewardResult>(of_series[0]->result);
      bar.low = only.low;
      bar.high = only.high;
    }
    bars.groups.push_back(series);
    accuracy.bars.push_back(bar);
  }
  bars.series.push_back(std::move(accuracy));
  add_bars(part, "reward-accuracy", bars);
  return part;
}

}  // namespace elastron::report
