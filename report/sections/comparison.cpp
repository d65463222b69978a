#include <algorithm>

#include "report/plot/curves.h"
#include "report/sections/figure_texts.h"
#include "report/sections/sections.h"

namespace elastron::report {

namespace {

using Runs = std::vector<const TrainingRun*>;

// The figure of a run where it is one number; null where the run has none.
const Series* series_of(const TrainingRun& run, const std::string& name) {
  for (const auto* all : {&run.metrics.of_steps, &run.metrics.of_evaluations}) {
    const auto figure = all->find(name);
    if (figure == all->end()) continue;
    const auto number = figure->second.find("");
    if (number != figure->second.end()) return &number->second;
  }
  return nullptr;
}

std::vector<FigureWords> words_of(const Runs& runs) {
  const std::string objective = runs[0]->value("train.objective");
  const bool same = std::ranges::all_of(
      runs, [&](const TrainingRun* run) { return run->value("train.objective") == objective; });
  return figure_words(same ? objective : "");
}

// A row per figure, a column per run.
void add_last_values(Page& page, const Runs& runs, const std::vector<FigureWords>& words) {
  Table table{.columns = {"figure"}, .rows = {}};
  for (const TrainingRun* run : runs) table.columns.push_back(run->name);
  table.columns.emplace_back("unit");
  table.columns.emplace_back("meaning");
  const auto row = [&](const FigureWords& w, const auto& value) {
    std::vector<Cell> cells = {w.name};
    for (const TrainingRun* run : runs) cells.push_back(value(*run));
    cells.emplace_back(w.unit);
    cells.emplace_back(w.meaning);
    table.rows.push_back(std::move(cells));
  };
  row({.name = "step", .meaning = "last one that was logged"},
      [](const TrainingRun& run) -> Cell { return double(run.metrics.last_step); });
  for (const FigureWords& w : words) {
    const auto has = [&](const TrainingRun* run) { return series_of(*run, w.name) != nullptr; };
    if (std::ranges::none_of(runs, has)) continue;
    row(w, [&](const TrainingRun& run) -> Cell {
      const Series* series = series_of(run, w.name);
      return series == nullptr ? Cell() : Cell(series->values.back());
    });
  }
  page.heading(3, "Last values");
  page.table(table, "Last values of each run");
}

void add_differences(Page& page, const Runs& runs) {
  Table table{.columns = {"key"}, .rows = {}};
  for (const TrainingRun* run : runs) table.columns.push_back(run->name);
  std::vector<std::string> keys;
  for (const TrainingRun* run : runs) {
    for (const auto& [key, value] : run->config) {
      if (std::ranges::find(keys, key) == keys.end()) keys.push_back(key);
    }
  }
  for (const std::string& key : keys) {
    std::vector<Cell> row = {key};
    for (const TrainingRun* run : runs) row.emplace_back(run->value(key));
    const bool same = std::all_of(row.begin() + 1, row.end(),
                                  [&](const Cell& cell) { return cell.text == row[1].text; });
    if (!same) table.rows.push_back(std::move(row));
  }
  page.heading(3, "What differs");
  if (table.rows.empty()) {
    page.paragraph("The configurations are the same.");
  } else {
    page.table(table, "Keys of the configurations that differ");
  }
}

}  // namespace

void add_runs_compared(Page& page, const Runs& runs) {
  page.heading(2, "Training runs compared");
  add_differences(page, runs);
  const std::vector<FigureWords> words = words_of(runs);
  std::vector<Figure> figures;
  for (const FigureWords& w : words) {
    Curves curves{.title = w.name + (w.unit.empty() ? "" : " (" + w.unit + ")"),
                  .note = w.meaning,
                  .of = "step"};
    for (const TrainingRun* run : runs) {
      const Series* series = series_of(*run, w.name);
      // A run without the figure keeps its place, so that runs keep their colours.
      curves.curves.push_back(
          series == nullptr ? Curve{}
                            : Curve{.name = run->name, .x = series->steps, .y = series->values});
    }
    const bool has_more = w.name == "lr";  // it is one of those that follow
    if (!has_more && has_values(curves)) figures.push_back(curves_figure(curves));
  }
  page.heading(3, "Curves");
  page.figures(figures);
  add_last_values(page, runs, words);
}

}  // namespace elastron::report
