#include <algorithm>
#include <cmath>
#include <set>

#include "report/plot/bars.h"
#include "report/plot/heat_map.h"
#include "report/plot/ticks.h"
#include "report/sections/sections.h"
#include "reward/figures.h"

namespace elastron::report {

namespace {

// One way of deciding gates of one file.
struct Row {
  std::string name;
  const Json* json = nullptr;
};

std::vector<Row> rows_of(const std::vector<const Evaluation*>& evaluations) {
  std::vector<Row> rows;
  for (const Evaluation* e : evaluations) {
    for (const Json& row : e->rows) {
      const std::string gates = text_in(row, "gates");
      rows.push_back({evaluations.size() == 1 ? gates : e->name + ": " + gates, &row});
    }
  }
  return rows;
}

// The accuracy with Wilson's interval of the documents that have an answer.
Bar accuracy_of(const Json& figures) {
  const auto accuracy = number_in(figures, "accuracy"), answers = number_in(figures, "answers");
  if (!accuracy || !answers || *answers <= 0) return {};
  const auto interval = reward::wilson_interval(*accuracy * *answers, *answers);
  return {.value = accuracy, .low = interval.low, .high = interval.high};
}

Bar number_of(const Json& figures, const char* name) {
  return {.value = number_in(figures, name), .low = {}, .high = {}};
}

void add_table(Page& page, const std::vector<Row>& rows) {
  constexpr const char* kFigures[] = {"documents",
                                      "answers",
                                      "labels",
                                      "loss",
                                      "msr",
                                      "esr_last_layer_last_query",
                                      "esr_all_layers_last_query",
                                      "esr_all_layers_area",
                                      "esr_tiles"};
  Table table{.columns = {"gates", "of", "accuracy", "95 % low", "95 % high"}, .rows = {}};
  table.columns.insert(table.columns.end(), std::begin(kFigures), std::end(kFigures));
  const auto add = [&](const Row& row, const std::string& of, const Json& figures) {
    const Bar accuracy = accuracy_of(figures);
    std::vector<Cell> cells = {row.name, of, accuracy.value, accuracy.low, accuracy.high};
    for (const char* name : kFigures) cells.emplace_back(number_in(figures, name));
    table.rows.push_back(std::move(cells));
  };
  for (const Row& row : rows) {
    add(row, "all", object_in(*row.json, "all"));
    for (const char* by : {"by_task", "by_kind"}) {
      const Json& parts = object_in(*row.json, by);
      for (const std::string& name : names_in(parts)) {
        add(row, (by == std::string("by_task") ? "task " : "kind ") + name, object_in(parts, name));
      }
    }
  }
  page.table(table, "Figures of the evaluation");
}

template <class Value>
Bars bars_by(const std::vector<Row>& rows, const char* by, const Value& value) {
  std::set<std::string> names;
  for (const Row& row : rows) {
    for (const std::string& name : names_in(object_in(*row.json, by))) names.insert(name);
  }
  Bars bars;
  bars.groups.assign(names.begin(), names.end());
  bars.groups.emplace_back("all");
  for (const Row& row : rows) {
    BarSeries series{.name = row.name, .bars = {}};
    for (const std::string& name : bars.groups) {
      const Json& figures = name == "all" && !names.contains(name)
                                ? object_in(*row.json, "all")
                                : object_in(object_in(*row.json, by), name);
      series.bars.push_back(value(figures));
    }
    bars.series.push_back(std::move(series));
  }
  return bars;
}

void add_bars(Page& page, const std::vector<Row>& rows) {
  std::vector<Figure> figures;
  const auto add = [&](Bars bars, const char* title, const char* note, const char* of) {
    bars.title = title;
    bars.note = note;
    bars.of = of;
    if (has_values(bars)) figures.push_back(bars_figure(bars));
  };
  const auto share = [](Bars bars) {
    bars.up_to = 1;
    return bars;
  };
  add(share(bars_by(rows, "by_kind", accuracy_of)), "Accuracy by kind",
      "Documents whose whole answer is the most likely one; whiskers: 95 % intervals.", "accuracy");
  add(share(bars_by(rows, "by_kind", [](const Json& f) { return number_of(f, "msr"); })),
      "MSR by kind", "Share of (layer, kv head) pairs that ran sparse.", "MSR");
  add(bars_by(rows, "by_kind", [](const Json& f) { return number_of(f, "loss"); }), "Loss by kind",
      "Cross-entropy per label; a lower one is better.", "loss (nats)");
  add(share(bars_by(rows, "by_task", [](const Json& f) { return number_of(f, "msr"); })),
      "MSR by task", "Share of (layer, kv head) pairs that ran sparse.", "MSR");
  page.figures(figures);
}

bool varies(const std::vector<std::vector<double>>& matrix) {
  for (const auto& row : matrix) {
    for (const double value : row) {
      if (value != matrix[0][0]) return true;
    }
  }
  return false;
}

// One scale for all of them, so that they can be compared.
double scale_of(const std::vector<Row>& rows) {
  double most = 0;
  for (const Row& row : rows) {
    const auto skipped = matrix_of(list_in(*row.json, "esr_by_head"));
    if (!skipped || !varies(*skipped)) continue;
    for (const auto& heads : *skipped) {
      for (const double share : heads) most = std::isfinite(share) ? std::max(most, share) : most;
    }
  }
  return linear_range(0, most, 6).high;
}

void add_heads(Page& page, const std::vector<Row>& rows) {
  std::vector<Figure> figures;
  const double high = scale_of(rows);
  for (const Row& row : rows) {
    auto skipped = matrix_of(list_in(*row.json, "esr_by_head"));
    if (!skipped || !varies(*skipped)) continue;
    figures.push_back(heat_map_figure({.title = "Heads: " + row.name,
                                       .note = "Share of 64 x 64 tiles that each head skipped, of "
                                               "all documents; light: many.",
                                       .of = "share of tiles skipped",
                                       .rows = "layer",
                                       .columns = "head",
                                       .values = std::move(*skipped),
                                       .low = 0,
                                       .high = high}));
  }
  if (figures.empty()) return;
  page.heading(3, "What heads skipped");
  page.figures(figures);
}

}  // namespace

void add_evaluations(Page& page, const std::vector<const Evaluation*>& evaluations) {
  page.heading(2, evaluations.size() == 1 ? "Evaluation: " + evaluations[0]->name : "Evaluations");
  Facts facts;
  for (const Evaluation* e : evaluations) facts.emplace_back("File", e->path);
  page.facts(facts);
  const std::vector<Row> rows = rows_of(evaluations);
  add_bars(page, rows);
  page.heading(3, "Figures");
  add_table(page, rows);
  add_heads(page, rows);
  page.heading(3, "How to run it again");
  page.paragraph(
      "The file names neither the configuration nor the checkpoint: give those that it was made "
      "with. --compare takes all ways of deciding gates.");
  page.code("elastron eval CONFIG.yaml --checkpoint CHECKPOINT --compare --out FILE.json");
}

}  // namespace elastron::report
