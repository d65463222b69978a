#include "benchmark/running/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "benchmark/longbench/score_folder.h"
#include "benchmark/longbench/sets.h"
#include "benchmark/longbench_v2/score_folder.h"
#include "benchmark/mean_score.h"
#include "benchmark/ruler/score_folder.h"
#include "core/error.h"
#include "core/file/atomic_file.h"

namespace elastron::benchmark {

using Json = nlohmann::ordered_json;

namespace {

// Where the details of --score have what a file of predictions came to.
const char* key_of(Kind kind) {
  switch (kind) {
    case Kind::ruler: return "tasks";
    case Kind::longbench_v2: return "files";
    default: return "sets";
  }
}

ScoredFolder score(Kind kind, const std::string& folder, const std::vector<std::string>& names) {
  if (kind == Kind::longbench_v2) return score_longbench_v2(folder, names);
  if (kind != Kind::ruler) return score_longbench(folder, kind == Kind::longbench_e, names);
  ScoredRuler ruler = score_ruler(folder, names);
  write_text_atomically(ruler.summary_path(folder), ruler.summary_csv);
  write_text_atomically(folder + "/submission.csv", ruler.submission_csv);
  return ruler;
}

// A part without rows has no figures.
std::string number(const Json& object, const char* key, int digits) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? fmt::format("{:.{}f}", it->get<double>(), digits)
                                               : "-";
}

std::string interval(const Json& value, int digits) {
  if (!value.is_array()) return "";
  return fmt::format("{:.{}f} to {:.{}f}", value[0].get<double>(), digits, value[1].get<double>(),
                     digits);
}

void end_line(std::string& text) {
  text.erase(text.find_last_not_of(' ') + 1);
  text += '\n';
}

constexpr size_t kName = 28, kLength = 8;
constexpr size_t kCell = 16;  // "missing  missing"

std::string heading() {
  return fmt::format("{:<{}}{:>{}}{:>7}{:>7}{:>7}{:>9}  {:<18}{:>6}{:>6}{:>7}{:>11}{:>9}\n", "",
                     kName, "length", kLength, "rows", "empty", "cut", "score", "95 % interval",
                     "MSR", "ESR", "cache", "prompt t/s", "new t/s");
}

// `result`: of one set, task or file, with its figures. `score`: where score and interval are.
void add_line(std::string& table, const std::string& name, const std::string& length,
              const Json& result, const Json& score, const char* empty, int digits) {
  table += fmt::format("{:<{}}{:>{}}{:>7}{:>7}{:>7}{:>9}  {:<18}{:>6}{:>6}{:>7}{:>11}{:>9}", name,
                       kName, length, kLength, number(result, "rows", 0), number(result, empty, 0),
                       number(result, "truncated", 0), number(score, "score", digits),
                       interval(score["interval_95"], digits), number(result, "msr", 2),
                       number(result, "esr", 2), number(result, "cache_kept", 2),
                       number(result, "prompt_tokens_per_second", 0),
                       number(result, "decoded_tokens_per_second", 1));
  end_line(table);
}

void add_mean(std::string& table, const std::string& name, const std::string& length,
              const Json& mean) {
  table += fmt::format("{:<{}}{:>{}}{:>21}{:>9}  {:<18}{:>6}", name, kName, length, kLength, "",
                       number(mean, "score", 2), interval(mean["interval_95"], 2),
                       mean.contains("msr") ? number(mean, "msr", 2) : "");
  end_line(table);
}

std::optional<double> optional_of(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number()) return {};
  return it->get<double>();
}

// The mean MSR of the sets or tasks that `counts` says yes to.
template <class Counts>
Json mean_msr(const Json& results, const Counts& counts) {
  double sum = 0;
  int n = 0;
  for (const auto& [name, result] : results.items()) {
    if (!counts(name) || !result["msr"].is_number()) continue;
    sum += result["msr"].template get<double>();
    ++n;
  }
  return n > 0 ? Json(sum / n) : Json(nullptr);
}

void end_ruler(Report& report, const std::string& length, Json& details) {
  const auto all = [](const std::string&) { return true; };
  for (const char* key : {"mean_of_tasks", "mean_of_own_tasks"}) {
    if (!details.contains(key)) continue;
    details[key]["msr"] = mean_msr(details["tasks"], all);
    add_mean(report.table,
             key == std::string("mean_of_tasks") ? "mean of the 13 tasks" : "mean of our 13 tasks",
             length, details[key]);
  }
  // A mean over fewer tasks is no number of the published table, but runs can be compared by it.
  double sum = 0;
  for (const auto& [name, result] : details["tasks"].items()) {
    sum += optional_of(result, "score").value_or(0);
  }
  const auto n = double(details["tasks"].size());
  details["mean_of_these"] = {{"score", sum / n}, {"msr", mean_msr(details["tasks"], all)}};
  report.cells.push_back(
      {length.empty() ? "mean" : length, sum / n, optional_of(details["mean_of_these"], "msr")});
}

void end_longbench(Report& report, Json& details) {
  const Json& sets = details["sets"];
  const auto cell = [&](const std::string& name, const std::string& label, Json& mean) {
    add_mean(report.table, label, "", mean);
    report.cells.push_back({name, optional_of(mean, "score"), optional_of(mean, "msr")});
  };
  for (const std::string_view group : longbench_groups()) {
    const std::string name(group);
    details["groups"][name]["msr"] = mean_msr(
        sets, [&](const std::string& set) { return longbench_set(set, "result").group == group; });
    cell(name, name, details["groups"][name]);
  }
  const Json msr = mean_msr(sets, [](const std::string&) { return true; });
  for (const char* key : {"mean_of_groups", "mean_of_sets"}) details[key]["msr"] = msr;
  cell("groups", "mean of the groups", details["mean_of_groups"]);
  cell("sets", "mean of the sets", details["mean_of_sets"]);
}

// What answering took, beside the scores of the whole and of its parts.
void add_figures(Kind kind, const TaskParts& figures, Json& result) {
  result.update(figures_json(figures.all));
  for (const auto& [name, part] : figures.parts) {
    Json& of_part = kind == Kind::longbench_e ? result["buckets"][name] : result[name];
    of_part.update(figures_json(part));
  }
}

void add_v2(Report& report, const std::string& name, const Json& result) {
  for (const char* part : {"overall", "easy", "hard", "short", "medium", "long"}) {
    const bool all = part == std::string("overall");
    if (all) {
      add_line(report.table, name, "", result, result[part], "unanswered", 1);
    } else {
      add_line(report.table, fmt::format("  {}", part), "", result[part], result[part], "", 1);
    }
    const Json& figures = all ? result : result[part];
    report.cells.push_back({part, optional_of(result[part], "score"), optional_of(figures, "msr")});
  }
}

}  // namespace

Report report_of(Kind kind, const std::string& out, const Tasks& tasks,
                 const std::vector<TaskParts>& figures) {
  // By folder, in the order of the tasks.
  std::vector<std::pair<std::string, std::vector<size_t>>> folders;
  for (size_t t = 0; t < tasks.size(); ++t) {
    if (folders.empty() || folders.back().first != tasks[t]->folder()) {
      folders.push_back({tasks[t]->folder(), {}});
    }
    folders.back().second.push_back(t);
  }
  Report report{.parts = Json::object(), .table = heading()};
  for (const auto& [length, members] : folders) {
    const std::string folder = out + (length.empty() ? "" : "/" + length);
    std::vector<std::string> names;
    for (const size_t t : members) names.push_back(tasks[t]->name());
    ScoredFolder scored = score(kind, folder, names);
    write_text_atomically(folder + "/result.json", scored.published.dump(4) + "\n");
    Json& details = scored.details;
    Json& results = details[key_of(kind)];
    for (const size_t t : members) {
      Json& result = results[tasks[t]->name()];
      add_figures(kind, figures[t], result);
      if (kind == Kind::longbench_v2) {
        add_v2(report, tasks[t]->name(), result);
      } else {
        add_line(report.table, tasks[t]->name(), length, result, result,
                 kind == Kind::ruler ? "nulls" : "empty", 2);
      }
      if (kind != Kind::longbench_e) continue;
      for (const auto& [bucket, part] : result["buckets"].items()) {
        if (part["rows"] == 0) continue;
        add_line(report.table, "", bucket, part, part, "empty", 2);
      }
    }
    if (kind == Kind::ruler) end_ruler(report, length, details);
    if (kind == Kind::longbench || kind == Kind::longbench_e) end_longbench(report, details);
    report.parts[length.empty() ? "all" : length] = std::move(details);
  }
  return report;
}

std::string comparison_table(const std::vector<ComparedRun>& runs) {
  ELASTRON_CHECK(!runs.empty(), "runs to compare");
  size_t names = 8;
  for (const ComparedRun& run : runs) names = std::max(names, run.name.size());
  std::string table = fmt::format("{:<{}}", "gates", names);
  const auto width = [](const Cell& cell) { return std::max(kCell, cell.name.size()) + 2; };
  for (const Cell& cell : runs.front().cells)
    table += fmt::format("{:>{}}", cell.name, width(cell));
  table += fmt::format("\n{:<{}}", "", names);
  for (const Cell& cell : runs.front().cells)
    table += fmt::format("{:>{}}", "score   MSR", width(cell));
  table += "\n";
  for (const ComparedRun& run : runs) {
    table += fmt::format("{:<{}}", run.name, names);
    for (const Cell& cell : run.cells) {
      table += fmt::format("{:>{}}", shown(cell.score) + "  " + shown(cell.msr), width(cell));
    }
    table += "\n";
  }
  return table;
}

Json comparison_json(const std::vector<ComparedRun>& runs) {
  Json list = Json::array();
  for (const ComparedRun& run : runs) {
    Json object = {{"gates", run.name}, {"cells", Json::object()}};
    for (const Cell& cell : run.cells) {
      object["cells"][cell.name] = {{"score", or_null(cell.score)}, {"msr", or_null(cell.msr)}};
    }
    list.push_back(std::move(object));
  }
  return list;
}

}  // namespace elastron::benchmark
