#include "reward/judging/evaluation_rows.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/file/exists.h"
#include "core/log.h"
#include "core/plural.h"
#include "data/file_list.h"
#include "reward/results_table.h"
#include "reward/trace_rows.h"

namespace elastron::reward {

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

// Folders and patterns as data.files has them, but in the benchmark's order.
std::vector<std::string> expand(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    if (!exists(path) && path.find_first_of("*?[") == path.npos) {
      throw UsageError("neither a file nor a folder with .jsonl files", path,
                       "name preference files or the benchmark's folder with --data");
    }
    auto found = data::data_files({path}, ".jsonl", "--data");
    std::ranges::stable_sort(found, {}, [](const std::string& file) {
      return std::ranges::find(kBenchmarkFiles, fs::path(file).stem().string()) - kBenchmarkFiles;
    });
    files.insert(files.end(), found.begin(), found.end());
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
        "{}: {} of the setting '{}', which the benchmark does not have: judged as one of its own",
        file.path, plural(rows, "row"), setting);
  }
}

}  // namespace

std::vector<EvaluationFile> read_evaluation_files(const std::vector<std::string>& paths,
                                                  BadRows bad_rows, data::BadRecords bad_records,
                                                  bool speaks) {
  std::vector<EvaluationFile> files;
  std::set<std::string> names;
  for (const std::string& path : expand(paths)) {
    const std::string name = fs::path(path).stem().string();
    if (!names.insert(name).second) refuse_second_file(name, path);
    files.push_back({name, path, read_preference_file(path, bad_rows, bad_records)});
    if (!speaks) continue;
    warn_of_settings(files.back());
    for (const auto& [reason, count] : files.back().content.left_out) {
      log_warning("{}: {} left out: {}", path, plural(count, "row is", "rows are"), reason);
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
  throw InputError(fmt::format("no row is left to judge of {} ({})", rows, left_out_text(reasons)),
                   fmt::format("{}", fmt::join(paths, ", ")),
                   "check the files, --limit and reward.overlong");
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
      for (const PreferenceRow& row : *rows) {
        sum.add(row.index);
        add_to(sum, row);
        sum.add(row.setting);
        sum.add(row.length);
      }
    }
  }
  return sum.digest();
}

JudgedRow unjudged(const EvaluationFile& file, const PreferenceRow& row, int64_t tokens) {
  JudgedRow out{.file = file.name,
                .index = row.index,
                .setting = row.setting.empty() ? file.name : row.setting,
                .subtask = row.subtask,
                .length = row.length,
                .skip_reason = row.left_out};
  const bool known = std::ranges::find(kLengthClasses, row.length) != std::end(kLengthClasses);
  if (!known) out.length = length_class(tokens);
  return out;
}

}  // namespace elastron::reward
