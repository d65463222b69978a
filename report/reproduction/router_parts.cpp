// Figures 5, 6 and 13: what routers read, choose and learn.
#include <algorithm>
#include <cmath>
#include <map>

#include "report/plot/heat_map.h"
#include "report/plot/ticks.h"
#include "report/reproduction/drawing.h"

namespace elastron::report {

namespace {

// The middle t_sen, for figures of one of them.
std::optional<Place> middle_place(const Reproduction& all, std::string_view figure) {
  const auto places = places_of(jobs_of(all, figure, "elastic"));
  if (places.empty()) return {};
  return places[places.size() / 2];
}

// The mean of matrices of one shape; empty for none.
Matrix mean_of(const std::vector<const Matrix*>& matrices) {
  if (matrices.empty()) return {};
  Matrix mean = *matrices[0];
  for (size_t r = 0; r < mean.size(); ++r) {
    for (size_t c = 0; c < mean[r].size(); ++c) {
      double sum = 0;
      for (const Matrix* each : matrices) sum += (*each)[r][c];
      mean[r][c] = sum / double(matrices.size());
    }
  }
  return mean;
}

std::string of_place(const Place& place, size_t seeds) {
  return "t_sen " + place.at + ", mean of " + std::to_string(seeds) +
         (seeds == 1 ? " seed" : " seeds");
}

double lowest(const Matrix& matrix) {
  double low = 0;
  for (const auto& row : matrix) {
    for (const double value : row) low = std::isfinite(value) ? std::min(low, value) : low;
  }
  return low;
}

// By the key of a figure that has one per task, or "".
using Means = std::map<std::string, Series>;

// Mean over the runs that have the figure at a step.
Means means_of(const Jobs& jobs, const std::string& name) {
  std::map<std::string, std::map<double, std::vector<double>>> values;
  for (const Job* job : jobs) {
    const auto* run = std::get_if<TrainingRun>(&job->result);
    if (run == nullptr) continue;
    const auto figure = run->metrics.of_steps.find(name);
    if (figure == run->metrics.of_steps.end()) continue;
    for (const auto& [key, series] : figure->second) {
      for (size_t i = 0; i < series.steps.size(); ++i) {
        values[key][series.steps[i]].push_back(series.values[i]);
      }
    }
  }
  Means means;
  for (const auto& [key, steps] : values) {
    for (const auto& [step, each] : steps) {
      means[key].steps.push_back(step);
      means[key].values.push_back(estimate_of(each)->mean);
    }
  }
  return means;
}

void add_by_task(Part& part, const Place& place, const std::string& name, const std::string& file,
                 const std::string& title) {
  Curves curves{.title = title, .note = of_place(place, place.jobs.size()), .of = "step"};
  for (const auto& [key, series] : means_of(place.jobs, name)) {
    curves.curves.push_back({.name = key, .x = series.steps, .y = series.values});
  }
  if (name == "msr_by_task") {
    const Means targets = means_of(place.jobs, "target_by_task");
    const size_t tasks = curves.curves.size();
    for (size_t i = 0; i < tasks; ++i) {
      const auto target = targets.find(curves.curves[i].name);
      if (target == targets.end()) continue;
      curves.curves.push_back({.name = target->first + " target",
                               .x = target->second.steps,
                               .y = target->second.values,
                               .like = i});
    }
    curves.note += "; thin dashes: the target";
  }
  add_curves(part, file, curves);
}

// A curve per place of a series.
void add_by_place(Part& part, const Reproduction& all, const std::string& series,
                  const std::string& name, const std::string& title) {
  Curves curves{.title = title + ", " + series, .note = "mean over seeds", .of = "step"};
  for (const Place& place : places_of(jobs_of(all, "training", series))) {
    Means means = means_of(place.jobs, name);
    if (means.empty() && name == "lm_loss") means = means_of(place.jobs, "loss");
    const auto found = means.find("");
    if (found == means.end()) continue;
    curves.curves.push_back(
        {.name = place.at, .x = found->second.steps, .y = found->second.values});
  }
  add_curves(part, "fig13-" + std::string(name == "msr" ? "msr-" : "loss-") + series, curves);
}

void add_cosines(Part& part, const Place& place, const std::vector<const KindCosines*>& all,
                 Matrix KindCosines::*member, double low, const std::string& name) {
  std::vector<const Matrix*> matrices;
  for (const KindCosines* each : all) matrices.push_back(&(each->*member));
  part.figures.push_back(
      {"fig5-" + name, heat_map_figure({.title = "Cosines of kinds " + name + " the task MLP",
                                        .note = of_place(place, all.size()),
                                        .of = "cosine",
                                        .rows = "kind",
                                        .columns = "kind",
                                        .values = mean_of(matrices),
                                        .low = low,
                                        .high = 1,
                                        .names = all[0]->kinds})});
}

}  // namespace

Part features_part(const Reproduction& all) {
  Part part{.title = "Figure 5: the task MLP tells kinds apart",
            .text = "Cosines of the kinds' mean pooled keys, mean over layers and kv heads.",
            .tables = {},
            .figures = {}};
  const auto place = middle_place(all, "elastic");
  std::vector<const KindCosines*> cosines;
  for (const Job* job : place ? place->jobs : Jobs()) {
    const auto* results = std::get_if<KindResults>(&job->result);
    if (results != nullptr && results->cosines) cosines.push_back(&*results->cosines);
  }
  if (cosines.empty()) return part;
  double low = 0;
  for (const KindCosines* each : cosines) {
    low = std::min({low, lowest(each->before), lowest(each->after)});
  }
  low = linear_range(low, 1, 6).low;
  add_cosines(part, *place, cosines, &KindCosines::before, low, "before");
  add_cosines(part, *place, cosines, &KindCosines::after, low, "after");
  return part;
}

Part heads_part(const Reproduction& all) {
  Part part{.title = "Figure 6: heads that routers let run full",
            .text = "Share of a kind's documents in which a head ran full; light: in all of them.",
            .tables = {},
            .figures = {}};
  const auto place = middle_place(all, "elastic");
  if (!place) return part;
  for (const std::string& kind : kinds_in(place->jobs)) {
    std::vector<const Matrix*> matrices;
    for (const Job* job : place->jobs) {
      const auto& heads = std::get<KindResults>(job->result).full_by_kind;
      const auto found = heads.find(kind);
      if (found != heads.end()) matrices.push_back(&found->second);
    }
    if (matrices.empty()) continue;
    part.figures.push_back(
        {"fig6-" + kind, heat_map_figure({.title = "Heads on " + kind,
                                          .note = of_place(*place, matrices.size()),
                                          .of = "share that ran full",
                                          .rows = "layer",
                                          .columns = "kv head",
                                          .values = mean_of(matrices)})});
  }
  return part;
}

Part training_part(const Reproduction& all) {
  Part part{.title = "Figure 13: training",
            .text =
                "Figures of every step that was logged; a task's MSR is a mean over the runs "
                "that had it in the step.",
            .tables = {},
            .figures = {}};
  for (const char* series : {"elastic", "l0"}) {
    add_by_place(part, all, series, "lm_loss", "Cross-entropy per label (nats)");
    add_by_place(part, all, series, "msr", "MSR");
  }
  const auto place = middle_place(all, "training");
  if (!place) return part;
  add_by_task(part, *place, "msr_by_task", "fig13-msr-by-task", "MSR by task");
  add_by_task(part, *place, "lambda1", "fig13-lambda1", "lambda1 by task");
  add_by_task(part, *place, "lambda2", "fig13-lambda2", "lambda2 by task");
  return part;
}

}  // namespace elastron::report
