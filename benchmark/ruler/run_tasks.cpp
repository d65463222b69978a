#include "benchmark/ruler/run_tasks.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "benchmark/ruler/rows.h"
#include "benchmark/ruler/tasks.h"
#include "benchmark/running/task_files.h"
#include "benchmark/scored_folder.h"
#include "core/error.h"
#include "core/log.h"

namespace elastron::benchmark {

namespace {

namespace fs = std::filesystem;

class RulerRunTask final : public Task {
 public:
  RulerRunTask(std::string name, std::string folder, const std::string& path,
               const Prompter& prompter, const RulerAsking& asking)
      : name_(std::move(name)),
        folder_(std::move(folder)),
        path_(path),
        prompter_(prompter),
        asking_(asking),
        rows_(read_ruler_data(path)) {
    expect_rows(int64_t(rows_.size()), path);
  }

  std::string name() const override { return name_; }
  std::string folder() const override { return folder_; }
  int64_t rows() const override { return int64_t(rows_.size()); }
  Question question(int64_t i) const override {
    const RulerRow& row = rows_[size_t(i)];
    Question question = prompter_.question(
        row.input,
        {.chat = asking_.chat, .limit = asking_.limit, .answer_prefix = row.answer_prefix},
        fmt::format("{}, index {}", path_, row.index));
    question.max_tokens = ruler_task(name_)->new_tokens;
    return question;
  }
  nlohmann::ordered_json prediction(int64_t row,
                                    const std::vector<std::string>& texts) const override {
    return ruler_prediction(rows_[size_t(row)], texts.front());
  }
  int64_t rows_done(const PredictionFile& file) const override {
    const auto done = ruler_rows_done(file, rows_);
    return first_rows_done(done.size(), file.path(),
                           [&](size_t i) { return done.contains(rows_[i].index); });
  }
  RowsIdentity identity() const override {
    return {{"rows", file_checksum(path_)},
            {"chat", asking_.chat ? "yes" : "as prepared"},
            {"limit", std::to_string(asking_.limit)}};
  }

 private:
  std::string name_, folder_, path_;
  const Prompter& prompter_;
  RulerAsking asking_;
  std::vector<RulerRow> rows_;
};

std::vector<std::string> folders_in(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  if (error) {
    throw InputError("cannot list the folder: " + error.message(), folder,
                     "give the folder that RULER's data was prepared in");
  }
  std::ranges::sort(names);
  return names;
}

bool is_length(const std::string& name) {
  return !name.empty() && name.size() < 10 &&
         std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
}

// Names of tasks that have data in the folder, in the published order, ours behind them.
std::vector<std::string> tasks_in(const std::string& folder) {
  std::vector<std::string> known;
  for (const std::string& name : folders_in(folder)) {
    if (!fs::exists(folder + "/" + name + "/validation.jsonl")) continue;
    if (ruler_task(name) != nullptr) {
      known.push_back(name);
    } else {
      log_warning("left out, as it is no task of RULER: {}/{}", folder, name);
    }
  }
  std::ranges::sort(known, {}, ruler_place);
  return known;
}

}  // namespace

Tasks ruler_run_tasks(const std::string& data, const std::vector<std::string>& names,
                      const Prompter& prompter, const RulerAsking& asking) {
  std::vector<std::string> lengths = {""};
  for (const std::string& name : folders_in(data)) {
    if (is_length(name)) lengths.push_back(name);
  }
  std::ranges::sort(lengths, {},
                    [](const std::string& name) { return name.empty() ? 0 : std::stol(name); });
  Tasks tasks;
  std::set<std::string> found;
  for (const std::string& length : lengths) {
    std::string folder = length.empty() ? data : data + "/" + length;
    if (fs::is_directory(folder + "/data")) folder += "/data";
    for (const std::string& name : tasks_in(folder)) {
      if (!is_asked_for(names, name)) continue;
      found.insert(name);
      tasks.push_back(std::make_unique<RulerRunTask>(
          name, length, folder + "/" + name + "/validation.jsonl", prompter, asking));
    }
  }
  for (const std::string& name : names) {
    if (found.contains(name)) continue;
    throw InputError("no data of '" + name + "'", data,
                     "the folder must have " + name + "/validation.jsonl");
  }
  if (tasks.empty()) {
    throw InputError("no data of RULER's tasks", data,
                     "the folder must have <task>/validation.jsonl, or <length>/<task>/...");
  }
  return tasks;
}

}  // namespace elastron::benchmark
