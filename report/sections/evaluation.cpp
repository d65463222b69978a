#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

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

// Where kinds differ a map of each, and otherwise one, unless all heads are alike.
void add_full_by_kind(Page& page, const std::vector<Row>& rows) {
  std::vector<Figure> figures;
  for (const Row& row : rows) {
    const Json& by_kind = object_in(*row.json, "full_by_kind");
    std::vector<std::pair<std::string, std::vector<std::vector<double>>>> maps;
    for (const std::string& kind : names_in(by_kind)) {
      if (auto shares = matrix_of(list_in(by_kind, kind))) maps.emplace_back(kind, *shares);
    }
    if (maps.empty()) continue;
    if (std::ranges::all_of(maps, [&](const auto& m) { return m.second == maps[0].second; })) {
      if (!varies(maps[0].second)) continue;
      maps = {{"every kind", maps[0].second}};
    }
    for (auto& [kind, shares] : maps) {
      figures.push_back(heat_map_figure(
          {.title = "Full attention: " + row.name + ", " + kind,
           .note = "Share of the kind's documents in which the head ran its retrieval branch.",
           .of = "P(full)",
           .rows = "layer",
           .columns = "head",
           .values = std::move(shares)}));
    }
  }
  if (figures.empty()) return;
  page.heading(3, "P(full) by layer, head and kind");
  page.figures(figures);
}

void add_features(Page& page, const std::vector<Row>& rows) {
  std::vector<Figure> figures;
  for (const Row& row : rows) {
    const Json& features = object_in(*row.json, "features_by_kind");
    std::vector<std::string> kinds;
    for (const Json& kind : list_in(features, "kinds")) {
      kinds.push_back(kind.is_string() ? kind.get<std::string>() : "");
    }
    for (const auto& [side, title, of] :
         {std::tuple{"before", "Before the task MLP: ", "pooled vectors that the router reads"},
          {"after", "After the task MLP: ", "vectors that the task MLP makes of them"}}) {
      auto cosines = matrix_of(list_in(features, side));
      if (!cosines || cosines->size() != kinds.size() || (*cosines)[0].size() != kinds.size()) {
        continue;
      }
      double low = 0;
      for (const auto& line : *cosines) low = std::min(low, *std::ranges::min_element(line));
      figures.push_back(heat_map_figure({.title = title + row.name,
                                         .note = std::string("Cosine between kinds' mean ") + of +
                                                 ", mean over layers and heads; light: alike.",
                                         .of = "cosine",
                                         .rows = "kind",
                                         .columns = "kind",
                                         .values = std::move(*cosines),
                                         .low = low < 0 ? -1.0 : 0.0,
                                         .high = 1,
                                         .names = kinds}));
    }
  }
  if (figures.empty()) return;
  page.heading(3, "How alike kinds are to the router");
  page.figures(figures);
}

void add_commands(Page& page, const std::vector<const Evaluation*>& evaluations) {
  page.heading(3, "How to run it again");
  bool older = false;
  for (const Evaluation* e : evaluations) {
    const Json& made = object_in(e->rows.front(), "made_by");
    const std::string command = text_in(made, "command");
    older = older || command.empty();
    if (command.empty()) continue;
    Facts facts;
    if (evaluations.size() > 1) facts.emplace_back("File", e->path);
    for (const auto& [name, key] : {std::pair{"Program", "program"},
                                    {"Checkpoint", "checkpoint"},
                                    {"Backbone", "backbone"}}) {
      const std::string text = text_in(made, key);
      if (!text.empty()) facts.emplace_back(name, text);
    }
    page.facts(facts);
    page.code(command);
  }
  if (!older) return;
  page.paragraph(
      "A file of an older version names neither the configuration nor the checkpoint: give those "
      "that it was made with. --compare takes all ways of deciding gates.");
  page.code("elastron eval CONFIG.yaml --checkpoint CHECKPOINT --compare --out FILE.json");
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
  add_full_by_kind(page, rows);
  add_features(page, rows);
  add_commands(page, evaluations);
}

}  // namespace elastron::report
