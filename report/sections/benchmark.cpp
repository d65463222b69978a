#include <algorithm>

#include "report/markup.h"
#include "report/plot/bars.h"
#include "report/sections/benchmark_facts.h"
#include "report/sections/sections.h"

namespace elastron::report {

namespace {

// A set, task or file of a benchmark, with the length that it belongs to.
struct Part {
  std::string name;
  const Json* json = nullptr;   // with figures
  const Json* score = nullptr;  // where score and interval are: LongBench-v2 has them in "overall"
};

std::vector<Part> parts_of(const Benchmark& b) {
  std::vector<Part> parts;
  for (const std::string& length : names_in(b.results)) {
    const Json& details = object_in(b.results, length);
    for (const char* kind : {"tasks", "sets", "files"}) {
      const Json& all = object_in(details, kind);
      for (const std::string& name : names_in(all)) {
        const Json& part = object_in(all, name);
        const Json& overall = object_in(part, "overall");
        parts.push_back({(length == "all" ? "" : length + " / ") + name, &part,
                         overall.empty() ? &part : &overall});
      }
    }
  }
  return parts;
}

// Means over sets, tasks, groups: what published tables have.
std::vector<Part> means_of(const Benchmark& b) {
  std::vector<Part> means;
  for (const std::string& length : names_in(b.results)) {
    const Json& details = object_in(b.results, length);
    const std::string before = length == "all" ? "" : length + " / ";
    const auto add = [&](const std::string& name, const Json& mean) {
      // A mean of fewer sets than it is of is null: there is nothing to show.
      if (number_in(mean, "score")) means.push_back({before + name, &mean, &mean});
    };
    const Json& groups = object_in(details, "groups");
    for (const std::string& name : names_in(groups)) add(name, object_in(groups, name));
    for (const auto& [key, name] : {std::pair{"mean_of_groups", "mean of the groups"},
                                    std::pair{"mean_of_sets", "mean of the sets"},
                                    std::pair{"mean_of_tasks", "mean of the 13 tasks"},
                                    std::pair{"mean_of_own_tasks", "mean of our 13 tasks"},
                                    std::pair{"mean_of_these", "mean of these"}}) {
      add(name, object_in(details, key));
    }
    const Json& files = object_in(details, "files");
    for (const std::string& file : names_in(files)) {
      for (const char* part : {"easy", "hard", "short", "medium", "long"}) {
        const Json& of = object_in(object_in(files, file), part);
        add(files.size() == 1 ? part : file + " / " + part, of);
      }
    }
  }
  return means;
}

Bar score_of(const Json& result) {
  const Json& interval = list_in(result, "interval_95");
  Bar bar{.value = number_in(result, "score"), .low = {}, .high = {}};
  if (interval.size() == 2 && interval[0].is_number() && interval[1].is_number()) {
    bar.low = interval[0].get<double>();
    bar.high = interval[1].get<double>();
  }
  return bar;
}

using Benchmarks = std::vector<const Benchmark*>;

template <class PartsOf>
Bars bars_of(const Benchmarks& benchmarks, const PartsOf& parts) {
  Bars bars{.note = "Points of 100; whiskers: 95 % intervals.", .of = "score", .up_to = 100};
  for (const Benchmark* b : benchmarks) {
    for (const Part& part : parts(*b)) {
      if (std::ranges::find(bars.groups, part.name) == bars.groups.end()) {
        bars.groups.push_back(part.name);
      }
    }
  }
  for (const Benchmark* b : benchmarks) {
    BarSeries series{.name = b->name, .bars = std::vector<Bar>(bars.groups.size())};
    for (const Part& part : parts(*b)) {
      const auto group = std::ranges::find(bars.groups, part.name);
      series.bars[size_t(group - bars.groups.begin())] = score_of(*part.score);
    }
    bars.series.push_back(std::move(series));
  }
  return bars;
}

void add_scores(Page& page, const Benchmarks& benchmarks) {
  std::vector<Figure> figures;
  Bars means = bars_of(benchmarks, means_of), parts = bars_of(benchmarks, parts_of);
  means.title = "Means";
  parts.title = "Scores";
  for (const Bars* bars : {&means, &parts}) {
    if (has_values(*bars)) figures.push_back(bars_figure(*bars));
  }
  page.figures(figures);
}

void add_table(Page& page, const Benchmark& b) {
  constexpr const char* kFigures[] = {"rows",
                                      "nulls",
                                      "empty",
                                      "unanswered",
                                      "truncated",
                                      "msr",
                                      "esr",
                                      "cache_kept",
                                      "prompt_tokens",
                                      "new_tokens",
                                      "prompt_tokens_per_second",
                                      "decoded_tokens_per_second"};
  std::vector<Part> parts = parts_of(b);
  const std::vector<Part> means = means_of(b);
  parts.insert(parts.end(), means.begin(), means.end());
  // Columns that no row has anything in are left out.
  std::vector<const char*> there;
  std::ranges::copy_if(kFigures, std::back_inserter(there), [&](const char* name) {
    return std::ranges::any_of(parts, [&](const Part& p) { return p.json->contains(name); });
  });
  Table table{.columns = {"name", "score", "95 % low", "95 % high"}, .rows = {}};
  table.columns.insert(table.columns.end(), there.begin(), there.end());
  for (const Part& part : parts) {
    const Bar score = score_of(*part.score);
    std::vector<Cell> row = {part.name, score.value, score.low, score.high};
    for (const char* name : there) row.emplace_back(number_in(*part.json, name));
    table.rows.push_back(std::move(row));
  }
  page.table(table, "Scores and what they took: " + b.name);
}

// Of results that do not say it.
void add_command_of(Page& page, const std::string& benchmark, const Json& settings) {
  const bool extended = benchmark == "longbench-e";
  std::string command = "elastron benchmark " + (extended ? "longbench --e" : benchmark);
  const auto add = [&](const char* option, const char* name) {
    const std::string value = text_in(settings, name);
    if (!value.empty()) command += std::string(" ") + option + " " + shell_word(value);
  };
  add("--model", "model");
  add("--router", "router");
  if (text_in(settings, "gates") != "none") add("--force", "gates");
  add("--dtype", "dtype");
  add("--decode", "decode");
  const std::string rest = text_in(settings, "settings");
  page.paragraph("How to run it again" +
                 std::string(rest.empty() ? "" : ", with the settings above by --set") +
                 "; DATA is the benchmark's own:");
  page.code(command + " --data DATA --out ANOTHER_FOLDER");
}

}  // namespace

void add_benchmark_facts(Page& page, const std::string& benchmark, const std::string& path,
                         const Json& settings, const Json& made_by) {
  Facts facts = {{"File", path}};
  for (const auto& [name, value] : settings.items()) {
    if (value.is_string() && !value.get<std::string>().empty()) facts.emplace_back(name, value);
  }
  const std::string program = text_in(made_by, "program");
  if (!program.empty()) facts.emplace_back("program", program);
  page.facts(facts);
  const std::string command = text_in(made_by, "command");
  if (!command.empty()) {
    page.paragraph("How to run it again, with another folder for --out:");
    page.code(command);
  } else if (!settings.empty()) {
    add_command_of(page, benchmark, settings);
  }
}

void add_benchmarks(Page& page, const Benchmarks& benchmarks) {
  const bool one = benchmarks.size() == 1;
  page.heading(2, one ? "Benchmark " + benchmarks[0]->benchmark + ": " + benchmarks[0]->name
                      : "Benchmark " + benchmarks[0]->benchmark);
  add_scores(page, benchmarks);
  for (const Benchmark* b : benchmarks) {
    page.heading(3, one ? "Figures" : b->name);
    add_table(page, *b);
    add_benchmark_facts(page, b->benchmark, b->path, b->settings, b->made_by);
  }
}

void add_benchmark_comparison(Page& page, const BenchmarkComparison& comparison) {
  page.heading(2, "Benchmark compared: " + comparison.name);
  page.facts({{"File", comparison.path}});
  Bars scores{.title = "Score by gates", .note = "Points of 100.", .of = "score", .up_to = 100};
  Bars sparsity{.title = "MSR by gates",
                .note = "Share of kv heads that were sparse while prompts were read.",
                .of = "MSR",
                .up_to = 1};
  Table table{.columns = {"gates"}, .rows = {}};
  for (const std::string& cell : names_in(object_in(comparison.runs[0], "cells"))) {
    for (Bars* bars : {&scores, &sparsity}) bars->groups.push_back(cell);
    table.columns.push_back(cell + " score");
    table.columns.push_back(cell + " MSR");
  }
  for (const Json& run : comparison.runs) {
    const std::string gates = text_in(run, "gates");
    BarSeries score{.name = gates, .bars = {}};
    BarSeries msr{.name = gates, .bars = {}};
    std::vector<Cell> row = {gates};
    for (const std::string& cell : scores.groups) {
      const Json& of = object_in(object_in(run, "cells"), cell);
      score.bars.push_back({.value = number_in(of, "score")});
      msr.bars.push_back({.value = number_in(of, "msr")});
      row.insert(row.end(), {number_in(of, "score"), number_in(of, "msr")});
    }
    scores.series.push_back(std::move(score));
    sparsity.series.push_back(std::move(msr));
    table.rows.push_back(std::move(row));
  }
  std::vector<Figure> figures;
  for (const Bars* bars : {&scores, &sparsity}) {
    if (has_values(*bars)) figures.push_back(bars_figure(*bars));
  }
  page.figures(figures);
  page.table(table, "Score and MSR of each way of deciding gates");
  if (comparison.parts.empty()) return;
  Benchmarks parts;
  for (const Benchmark& part : comparison.parts) parts.push_back(&part);
  page.heading(3, "By task");
  add_scores(page, parts);
  for (const Benchmark* part : parts) {
    page.heading(4, part->name);
    add_table(page, *part);
    add_benchmark_facts(page, part->benchmark, part->path, part->settings, part->made_by);
  }
}

}  // namespace elastron::report
