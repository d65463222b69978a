#include "benchmark/ruler/score_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "benchmark/mean_score.h"
#include "benchmark/ruler/rows.h"
#include "benchmark/ruler/tasks.h"
#include "benchmark/scores/means.h"
#include "core/error.h"

namespace elastron::benchmark {

using Json = nlohmann::ordered_json;

namespace {

struct TaskScores {
  std::string name;
  std::vector<double> rows;
  std::vector<std::pair<std::string, std::string>> answers;  // id, what was scored
  int64_t nulls = 0;
  MeanScore mean;

  // In the published order of operations, which decides how halves of a hundredth are rounded.
  std::optional<double> score() const {
    if (rows.empty()) return {};
    return round_as_python(sum_in_order(rows) / double(rows.size()) * 100, 2);
  }
  std::string nulls_of_rows() const { return fmt::format("{}/{}", nulls, rows.size()); }
};

TaskScores score_file(const RulerTask& task, const PredictionPath& file) {
  TaskScores scores{.name = file.name};
  for (const RulerPrediction& row : read_ruler_predictions(file.path)) {
    std::string answer = ruler_answer(row.prediction);
    scores.rows.push_back(ruler_score(task, answer, row.outputs));
    scores.nulls += answer.empty();
    scores.answers.emplace_back(row.id, std::move(answer));
  }
  scores.mean = mean_score(scores.rows, file.name);
  return scores;
}

// A field as Python's csv.writer has it.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == text.npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

// A double as Python's str: the shortest text that gives it back.
std::string python_number(const std::optional<double>& value) {
  return value ? Json(*value).dump() : "";
}

// A table of three rows without names for its columns, which are numbered.
std::string summary_of(const std::vector<TaskScores>& tasks) {
  std::string head = "0", names = "Tasks", scores = "Score", nulls = "Nulls";
  for (size_t i = 0; i < tasks.size(); ++i) {
    head += "," + std::to_string(i + 1);
    names += "," + csv_field(tasks[i].name);
    scores += "," + python_number(tasks[i].score());
    nulls += "," + tasks[i].nulls_of_rows();
  }
  return head + "\n" + names + "\n" + scores + "\n" + nulls + "\n";
}

std::string submission_of(const std::vector<TaskScores>& tasks) {
  std::string text = "Task,ID,Prediction\n";
  for (const TaskScores& task : tasks) {
    for (const auto& [id, answer] : task.answers) {
      text += csv_field(task.name) + "," + csv_field(id) + "," + csv_field(answer) + "\n";
    }
  }
  return text;
}

// The mean over all thirteen, of RULER's names or of ours.
MeanScore mean_of_all(const std::vector<TaskScores>& scored, std::string_view prefix,
                      std::vector<std::string>& missing) {
  std::vector<MeanScore> means;
  for (const RulerTask& task : ruler_tasks()) {
    const std::string name = std::string(prefix) + std::string(task.name);
    const auto it = std::ranges::find(scored, name, &TaskScores::name);
    means.push_back(it == scored.end() ? MeanScore() : it->mean);
    if (it == scored.end()) missing.push_back(name);
  }
  return mean_of(means);
}

void add_mean(ScoredRuler& result, const std::vector<TaskScores>& scored, std::string_view prefix,
              const std::string& key) {
  std::vector<std::string> missing;
  const MeanScore mean = mean_of_all(scored, prefix, missing);
  if (missing.size() == ruler_tasks().size()) return;
  result.details[key] = mean_json(mean);
  result.details[key]["missing"] = missing;
  const std::string name = prefix.empty() ? "mean of the 13 tasks" : "mean of our 13 tasks";
  result.table += fmt::format("{:<42}{:>10}  {}", name, shown(mean.percent), shown_interval(mean));
  result.table.erase(result.table.find_last_not_of(' ') + 1);
  result.table += "\n";
}

}  // namespace

std::string ScoredRuler::summary_path(const std::string& folder) const {
  const std::string one = published.size() == 1 ? "-" + published.begin().key() : "";
  return folder + "/summary" + one + ".csv";
}

ScoredRuler score_ruler(const std::string& folder, const std::vector<std::string>& tasks) {
  const auto files = prediction_files(folder);
  check_tasks_are_there(tasks, files, folder);
  std::vector<TaskScores> scored;
  std::vector<std::string> left_out;
  for (const PredictionPath& file : files) {
    if (!is_asked_for(tasks, file.name)) continue;
    const RulerTask* task = ruler_task(file.name);
    if (task == nullptr) {
      left_out.push_back(file.name);
    } else {
      scored.push_back(score_file(*task, file));
    }
  }
  if (scored.empty()) {
    throw InputError("no predictions of RULER's tasks", folder,
                     "files are named by the task, such as niah_single_1.jsonl");
  }
  std::ranges::sort(scored, {}, [](const TaskScores& scores) { return ruler_place(scores.name); });

  ScoredRuler result;
  result.published = Json::object();
  result.details["benchmark"] = "ruler";
  result.table = fmt::format("{:<28}{:>6}{:>8}{:>10}  {}\n", "task", "rows", "nulls", "score",
                             "95 % interval");
  Json by_task = Json::object();
  for (const TaskScores& task : scored) {
    result.published[task.name] = or_null(task.score());
    by_task[task.name] = mean_json(task.mean);
    by_task[task.name]["score"] = result.published[task.name];
    by_task[task.name]["rows"] = task.rows.size();
    by_task[task.name]["nulls"] = task.nulls;
    result.table += fmt::format("{:<28}{:>6}{:>8}{:>10}  {}\n", task.name, task.rows.size(),
                                task.nulls, shown(task.score()), shown_interval(task.mean));
  }
  result.details["tasks"] = by_task;
  result.details["left_out"] = left_out;
  add_mean(result, scored, "", "mean_of_tasks");
  add_mean(result, scored, kOwnTask, "mean_of_own_tasks");
  for (const std::string& name : left_out) result.table += "not a task of RULER: " + name + "\n";
  result.summary_csv = summary_of(scored);
  result.submission_csv = submission_of(scored);
  return result;
}

}  // namespace elastron::benchmark
