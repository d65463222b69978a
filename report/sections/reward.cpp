#include <algorithm>
#include <cmath>

#include "report/markup.h"
#include "report/plot/bars.h"
#include "report/sections/sections.h"

namespace elastron::report {

namespace {

Bar accuracy_of(const Json& group) {
  const Json& interval = list_in(group, "interval");
  Bar bar{.value = number_in(group, "accuracy"), .low = {}, .high = {}};
  if (bar.value && interval.size() == 2 && interval[0].is_number() && interval[1].is_number()) {
    bar.low = interval[0].get<double>();
    bar.high = interval[1].get<double>();
  }
  return bar;
}

struct Group {
  std::string name;
  const Json* json = nullptr;
};
using Groups = std::vector<Group>;

Groups groups_in(const Json& parts) {
  Groups groups;
  for (const std::string& name : names_in(parts)) groups.push_back({name, &object_in(parts, name)});
  return groups;
}

Groups settings_of(const Json& summary) {
  Groups groups;
  const Json& files = object_in(summary, "files");
  for (const std::string& file : names_in(files)) {
    for (const Group& setting : groups_in(object_in(object_in(files, file), "settings"))) {
      groups.push_back(
          {files.size() == 1 ? setting.name : file + " / " + setting.name, setting.json});
    }
  }
  return groups;
}

// What a judge that knows nothing is right about.
std::vector<Level> levels_of(const Json& summary) {
  std::vector<Level> levels;
  const Json& baselines = object_in(summary, "baselines");
  if (const auto chance = number_in(baselines, "chance")) levels.push_back({"chance", *chance});
  return levels;
}

Figure accuracy_figure(const Json& summary, const std::string& title, const Groups& groups) {
  Bars bars{.title = title,
            .note = "Pairs judged right, with 95 % intervals; a tie is wrong.",
            .of = "accuracy",
            .levels = levels_of(summary),
            .up_to = 1};
  BarSeries series{.name = "accuracy", .bars = {}};
  for (const Group& group : groups) {
    bars.groups.push_back(group.name);
    series.bars.push_back(accuracy_of(*group.json));
  }
  bars.series.push_back(std::move(series));
  return bars_figure(bars);
}

Groups baselines_of(const Json& summary) {
  Groups groups = {{"this judge", &object_in(summary, "total")}};
  const Json& baselines = object_in(summary, "baselines");
  for (const auto& [key, name] : {std::pair{"longer_wins", "longer response wins"},
                                  std::pair{"shorter_wins", "shorter response wins"},
                                  std::pair{"untrained_head", "untrained head"}}) {
    const Json& group = object_in(baselines, key);
    if (!group.empty()) groups.push_back({name, &group});
  }
  return groups;
}

void add_histogram(const Json& summary, std::vector<Figure>& figures) {
  const Json& histogram = object_in(object_in(summary, "rewards"), "histogram");
  const auto low = number_in(histogram, "low"), high = number_in(histogram, "high");
  const Json& counts = list_in(histogram, "counts");
  if (!low || !high || counts.empty()) return;
  Bars bars{.title = "Rewards",
            .note = "How many responses have a reward from here on.",
            .of = "responses"};
  BarSeries series{.name = "responses", .bars = {}};
  for (size_t i = 0; i < counts.size(); ++i) {
    bars.groups.push_back(rounded(*low + (*high - *low) * double(i) / double(counts.size())));
    series.bars.push_back(
        {.value = counts[i].is_number() ? std::optional(counts[i].get<double>()) : std::nullopt});
  }
  bars.series.push_back(std::move(series));
  if (has_values(bars)) figures.push_back(bars_figure(bars));
}

// Numbers anywhere in the summary's groups that are one for all rows: "calibration ece".
void add_numbers(const Json& object, const std::string& before, Table& table) {
  for (const auto& [name, value] : object.items()) {
    const std::string path = before.empty() ? name : before + " " + name;
    if (name == "files" || name == "lengths" || name == "histogram") continue;
    if (value.is_number()) table.rows.push_back({path, value.get<double>()});
    if (value.is_object()) add_numbers(value, path, table);
  }
}

void add_groups(Page& page, const Json& summary) {
  constexpr const char* kFigures[] = {
      "pairs",       "right",          "ties",    "tie_aware_accuracy",
      "longer_wins", "untrained_head", "skipped", "truncated"};
  Table table{.columns = {"of", "name", "accuracy", "95 % low", "95 % high"}, .rows = {}};
  table.columns.insert(table.columns.end(), std::begin(kFigures), std::end(kFigures));
  const auto add = [&](const char* of, const Groups& groups) {
    for (const Group& group : groups) {
      const Bar accuracy = accuracy_of(*group.json);
      std::vector<Cell> row = {of, group.name, accuracy.value, accuracy.low, accuracy.high};
      for (const char* name : kFigures) row.emplace_back(number_in(*group.json, name));
      table.rows.push_back(std::move(row));
    }
  };
  add("total", {{"all", &object_in(summary, "total")}});
  add("file", groups_in(object_in(summary, "files")));
  add("setting", settings_of(summary));
  add("length", groups_in(object_in(summary, "lengths")));
  page.table(table, "Accuracy by file, setting and length");
}

}  // namespace

void add_reward_report(Page& page, const RewardReport& report) {
  const Json& summary = report.summary;
  page.heading(2, "Reward model: " + report.name);
  Facts facts = {{"File", report.path}, {"Judge by", text_in(summary, "judge")}};
  if (const auto rows = number_in(summary, "rows")) facts.emplace_back("Rows", exact(*rows));
  for (const auto& [name, value] : report.depends_on.items()) {
    if (value.is_string()) facts.emplace_back(name, value);
  }
  page.facts(facts);
  std::vector<Figure> figures = {
      accuracy_figure(summary, "Against judges that know nothing", baselines_of(summary))};
  for (const auto& [title, groups] :
       {std::pair{"Accuracy by length class", groups_in(object_in(summary, "lengths"))},
        std::pair{"Accuracy by setting", settings_of(summary)}}) {
    if (!groups.empty()) figures.push_back(accuracy_figure(summary, title, groups));
  }
  add_histogram(summary, figures);
  page.figures(figures);
  page.heading(3, "Figures");
  add_groups(page, summary);
  Table numbers{.columns = {"figure", "value"}, .rows = {}};
  add_numbers(summary, "", numbers);
  page.table(numbers, "All rows together");
  page.heading(3, "How to run it again");
  const std::string command = text_in(report.made_by, "command");
  if (!command.empty()) {
    page.paragraph("With another folder for --out:");
    page.code(command);
    return;
  }
  page.paragraph("CONFIG.yaml and DATA are those that the facts above are of.");
  page.code(
      "elastron eval-reward CONFIG.yaml --checkpoint CHECKPOINT --data DATA --out ANOTHER_FOLDER");
}

}  // namespace elastron::report
