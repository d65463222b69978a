#include "launch/evaluation_rows.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "reward/results_table.h"

namespace elastron::launch {

namespace fs = std::filesystem;

namespace {

// In raw form; in standard form the field has the file's name. Some are not known for sure.
constexpr const char* kSettings[] = {"S-Noise",    "S-Drop",   "P-Noise",    "P-Drop",
                                     "Mem0-OUT",   "Mem0-MEM", "A-Mem-OUT",  "A-Mem-MEM",
                                     "sequential", "parallel", "Sequential", "Parallel",
                                     "Mem0-Out",   "Mem0-Mem", "A-Mem-Out",  "A-Mem-Mem"};
// In the order of the published table; others follow by name.
constexpr std::string_view kBenchmarkFiles[] = {
    "Long-context_Reasoning", "Multi-turn_Dialogue_Understanding", "Long-form_Generation"};
// Token totals up to which a row belongs to each class (docs/method.md, Benchmark rows).
constexpr int64_t kClassEdges[] = {8000, 16000, 32000, 64000};

std::vector<std::string> expand(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (fs::is_regular_file(path, error)) {
      files.push_back(path);
      continue;
    }
    std::vector<std::string> inside;
    if (fs::is_directory(path, error)) {
      for (const auto& entry : fs::directory_iterator(path, error)) {
        if (entry.path().extension() == ".jsonl") inside.push_back(entry.path().string());
      }
    }
    if (inside.empty()) {
      throw UsageError("neither a file nor a folder with .jsonl files", path,
                       "name preference files or the benchmark's folder with --data");
    }
    std::ranges::sort(inside, {}, [](const std::string& file) {
      const auto place = std::ranges::find(kBenchmarkFiles, fs::path(file).stem().string());
      return std::pair(place - std::begin(kBenchmarkFiles), file);
    });
    files.insert(files.end(), inside.begin(), inside.end());
  }
  return files;
}

void warn_of_settings(const EvaluationFile& file) {
  std::map<std::string, int64_t> unknown;
  for (const auto& row : file.content.rows) {
    const bool known = row.setting.empty() || row.setting == file.name ||
                       std::ranges::find(kSettings, row.setting) != std::end(kSettings);
    if (!known) ++unknown[row.setting];
  }
  for (const auto& [setting, rows] : unknown) {
    log_warning(
        "{}: {} rows of the setting '{}', which the benchmark does not have: judged as "
        "one of its own",
        file.path, rows, setting);
  }
}

}  // namespace

std::vector<EvaluationFile> read_evaluation_files(const std::vector<std::string>& paths,
                                                  reward::BadRows bad_rows,
                                                  data::BadRecords bad_records, bool speaks) {
  std::vector<EvaluationFile> files;
  std::set<std::string> names;
  for (const std::string& path : expand(paths)) {
    const std::string name = fs::path(path).stem().string();
    if (!names.insert(name).second) refuse_second_file(name, path);
    files.push_back({name, path, reward::read_preference_file(path, bad_rows, bad_records)});
    if (!speaks) continue;
    warn_of_settings(files.back());
    for (const auto& [reason, count] : files.back().content.left_out) {
      log_warning("{}: {} rows are left out: {}", path, count, reason);
    }
  }
  return files;
}

void expect_rows_left(const std::vector<EvaluationFile>& files, int64_t left,
                      const std::map<std::string, int64_t>& dropped) {
  if (left > 0) return;
  std::map<std::string, int64_t> reasons = dropped;
  std::vector<std::string> paths;
  int64_t rows = 0;
  for (const EvaluationFile& file : files) {
    for (const auto& [reason, count] : file.content.left_out) reasons[reason] += count;
    paths.push_back(file.path);
    rows += file.content.lines();
  }
  throw InputError(
      fmt::format("no row is left to judge of {} ({})", rows, reward::left_out_text(reasons)),
      fmt::format("{}", fmt::join(paths, ", ")), "check the files, --limit and reward.overlong");
}

void refuse_second_file(const std::string& name, const std::string& path) {
  throw UsageError("two files are called " + name, path,
                   "rename one: reports tell files by their names");
}

std::vector<std::string> names_of(const std::vector<EvaluationFile>& files) {
  std::vector<std::string> names;
  for (const EvaluationFile& file : files) names.push_back(file.name);
  return names;
}

std::string rows_checksum(const std::vector<EvaluationFile>& files) {
  Checksum sum;
  for (const EvaluationFile& file : files) {
    sum.add(file.name);
    for (const auto* rows : {&file.content.rows, &file.content.bad_rows}) {
      for (const reward::PreferenceRow& row : *rows) {
        sum.add(row.index);
        reward::add_to(sum, row);
        sum.add(row.setting);
        sum.add(row.length);
      }
    }
  }
  return sum.digest();
}

reward::JudgedRow unjudged(const EvaluationFile& file, const reward::PreferenceRow& row,
                           int64_t tokens) {
  reward::JudgedRow out{.file = file.name,
                        .index = row.index,
                        .setting = row.setting.empty() ? file.name : row.setting,
                        .subtask = row.subtask,
                        .length = row.length,
                        .skip_reason = row.left_out};
  const bool known =
      std::ranges::find(reward::kLengthClasses, row.length) != std::end(reward::kLengthClasses);
  if (!known) {
    const auto edge = std::ranges::lower_bound(kClassEdges, tokens);
    out.length = reward::kLengthClasses[edge - std::begin(kClassEdges)];
  }
  return out;
}

}  // namespace elastron::launch
