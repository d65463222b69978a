#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "report/markup.h"
#include "report/plot/curves.h"
#include "report/sections/figure_texts.h"
#include "report/sections/sections.h"

namespace elastron::report {

namespace {

const FigureSeries* find(const TrainingRun& run, const std::string& name) {
  for (const auto* all : {&run.metrics.of_steps, &run.metrics.of_evaluations}) {
    const auto found = all->find(name);
    if (found != all->end()) return &found->second;
  }
  return nullptr;
}

bool is_rate(const std::string& name) { return name.starts_with("lr_"); }

// Rates are one figure, and targets belong to what they are the target of.
bool has_own_figure(const TrainingRun& run, const FigureWords& words) {
  if (words.name == "lr") {
    const auto& all = run.metrics.of_steps;
    return std::ranges::none_of(all, [](const auto& figure) { return is_rate(figure.first); });
  }
  return !is_rate(words.name) && words.name != "target_by_task";
}

bool is_constant(const FigureSeries& figure) {
  return std::ranges::all_of(figure, [](const auto& named) {
    const auto& values = named.second.values;
    return std::ranges::all_of(values, [&](double v) { return v == values[0]; });
  });
}

std::string title_of(const FigureWords& words) {
  return words.name + (words.unit.empty() ? "" : " (" + words.unit + ")");
}

Curves curves_of(const TrainingRun& run, const FigureWords& words, const FigureSeries& figure) {
  Curves curves{.title = title_of(words), .note = words.meaning, .of = "step"};
  for (const auto& [key, series] : figure) {
    curves.curves.push_back({.name = key, .x = series.steps, .y = series.values});
  }
  const auto* targets = words.name == "msr_by_task" ? find(run, "target_by_task") : nullptr;
  if (targets == nullptr) return curves;
  curves.note += "; thin dashes: the target";
  for (size_t i = 0; i < figure.size(); ++i) {
    const auto target = targets->find(curves.curves[i].name);
    if (target == targets->end()) continue;
    curves.curves.push_back({.name = target->first + " target",
                             .x = target->second.steps,
                             .y = target->second.values,
                             .like = i});
  }
  return curves;
}

Curves rates_of(const TrainingRun& run) {
  Curves curves{.title = "Learning rates", .note = "of each part that trains", .of = "step"};
  for (const auto& [name, figure] : run.metrics.of_steps) {
    if (!is_rate(name)) continue;
    const Series& series = figure.begin()->second;
    curves.curves.push_back({.name = name, .x = series.steps, .y = series.values});
  }
  return curves;
}

void add_curves(Page& page, const TrainingRun& run, const std::vector<FigureWords>& words) {
  std::vector<std::string> groups;
  for (const FigureWords& w : words) {
    if (std::ranges::find(groups, w.group) == groups.end()) groups.push_back(w.group);
  }
  for (const std::string& group : groups) {
    std::vector<Figure> figures;
    for (const FigureWords& w : words) {
      const FigureSeries* figure = find(run, w.name);
      if (w.group != group || figure == nullptr || !has_own_figure(run, w)) continue;
      const Curves curves = curves_of(run, w, *figure);
      // What never changes is in the table of the last step.
      const bool flat =
          is_constant(*figure) && run.metrics.logged > 1 && !w.name.starts_with("eval");
      if (!flat && has_values(curves)) figures.push_back(curves_figure(curves));
    }
    const Curves rates = rates_of(run);
    if (group == "Loss and optimiser" && has_values(rates)) {
      figures.push_back(curves_figure(rates));
    }
    if (figures.empty()) continue;
    page.heading(3, group);
    page.figures(figures);
  }
}

std::string state_of(const TrainingRun& run) {
  if (run.going_on) return "going on";
  const std::string steps = run.value("train.steps");
  const bool done = !steps.empty() && std::to_string(run.metrics.last_step) == steps;
  return done ? "done" : "not going on, and not done: the same command goes on with it";
}

void add_facts(Page& page, const TrainingRun& run) {
  const MetricsSeries& m = run.metrics;
  Facts facts = {
      {"State", state_of(run)},
      {"Step", fmt::format("{} of {}", m.last_step,
                           run.value("train.steps").empty() ? "?" : run.value("train.steps"))},
      {"Folder", run.folder}};
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) facts.emplace_back(name, value);
  };
  add("Objective", run.value("train.objective"));
  add("Model", run.value("model.path"));
  add("Data", run.value("data.format"));
  add("Seed", run.value("train.seed"));
  add("Run", run.id);
  add("Job", run.job);
  add("Began", run.begun);
  add("Began from", run.start);
  add("Lines of metrics",
      m.logged == 0 ? "none yet"
                    : fmt::format("{} steps, {} to {}", m.logged, m.first_time, m.last_time));
  if (!m.skipped.empty()) {
    add("Skipped steps",
        fmt::format("{}, the last one step {}", m.skipped.size(), exact(m.skipped.back())));
  }
  constexpr const char* kAnnounced[] = {"Program", "Device", "Threads", "Ranks over", "Layout"};
  for (size_t i = 0; i < std::min(run.announced.size(), std::size(kAnnounced)); ++i) {
    add(kAnnounced[i], run.announced[i]);
  }
  std::string checkpoints;
  for (const std::string& name : run.checkpoints) {
    checkpoints += (checkpoints.empty() ? "" : ", ") + name;
    if (name == run.latest) checkpoints += " (latest)";
    if (name == run.best) checkpoints += " (best)";
  }
  add("Checkpoints", checkpoints);
  page.facts(facts);
}

void add_again(Page& page, const TrainingRun& run) {
  if (run.config_text.empty()) return;
  page.heading(3, "How to run it again");
  page.paragraph(
      "With the configuration below, from the folder that its relative paths start at; results do "
      "not depend on the number of ranks.");
  const std::string config = (std::filesystem::path(run.folder) / "config.yaml").string();
  page.code(fmt::format("elastron-run -np {} train {} --set output.dir=ANOTHER_FOLDER",
                        std::max(run.ranks, 1), shell_word(config)));
  page.code(run.config_text, "config.yaml, with every key");
}

void add_last_step(Page& page, const TrainingRun& run, const std::vector<FigureWords>& words) {
  Table table{
      .columns = {"figure", "of", "last", "at step", "lowest", "highest", "unit", "meaning"},
      .rows = {}};
  for (const FigureWords& w : words) {
    const FigureSeries* figure = find(run, w.name);
    if (figure == nullptr) continue;
    for (const auto& [key, series] : *figure) {
      double low = NAN, high = NAN;
      for (const double v : series.values) {
        low = std::fmin(low, v);
        high = std::fmax(high, v);
      }
      table.rows.push_back(
          {w.name, key, series.values.back(), series.steps.back(), low, high, w.unit, w.meaning});
    }
  }
  if (table.rows.empty()) return;
  page.heading(3, "Figures");
  page.table(table, "Last, lowest and highest values");
}

}  // namespace

void add_training(Page& page, const TrainingRun& run) {
  page.heading(2, "Training: " + run.name);
  add_facts(page, run);
  const std::vector<FigureWords> words = figure_words(run.value("train.objective"));
  if (run.metrics.logged == 0) page.paragraph("No step has been logged yet.");
  add_curves(page, run, words);
  add_last_step(page, run, words);
  add_again(page, run);
}

}  // namespace elastron::report
