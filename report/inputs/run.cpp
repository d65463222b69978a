#include "report/inputs/run.h"

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "core/config/node.h"
#include "core/file/folder_lock.h"
#include "core/file/input_file.h"
#include "train/checkpoint/folder.h"
#include "train/run_folder.h"

namespace elastron::report {

namespace {

namespace fs = std::filesystem;

bool is_there(const std::string& path) {
  std::error_code unreadable_is_absent;
  return fs::exists(path, unreadable_is_absent);
}

void add_keys(const config::Node& node, const std::string& key, TrainingRun& run) {
  using Kind = config::Node::Kind;
  if (node.kind == Kind::map && !node.entries.empty()) {
    for (const config::NodeEntry& entry : node.entries) {
      add_keys(entry.second, key + (key.empty() ? "" : ".") + entry.first, run);
    }
    return;
  }
  std::string text = node.kind == Kind::map ? "{}" : node.text;
  if (node.kind == Kind::sequence) {
    for (const config::Node& item : node.items) text += (text.empty() ? "" : ", ") + item.text;
    text = "[" + text + "]";
  }
  run.config.emplace_back(key, text);
}

void read_config(TrainingRun& run) {
  const std::string path = run.folder + "/config.yaml";
  if (!is_there(path)) return;
  run.config_text = read_small_file(path, config::kMaxYamlBytes);
  config::Problems problems;
  const config::Node all = config::parse_yaml(run.config_text, path, problems);
  problems.raise();
  add_keys(all, "", run);
}

// "2026-11-30 18:45:29 elastron 0.2.0 | cpu, 2 hardware threads | ... | data 1 x context 1 x tensor
// 1": the last of the log.
void read_log(TrainingRun& run) {
  std::ifstream log(run.folder + "/log.txt", std::ios::binary);
  constexpr size_t kTime = 20;  // and the blank behind it
  for (std::string line; std::getline(log, line);) {
    if (line.size() <= kTime || line.compare(kTime, 9, "elastron ") != 0) continue;
    const size_t layout = line.rfind(" | data ");
    int data = 0, context = 0, tensor = 0;
    if (layout == line.npos ||
        std::sscanf(line.c_str() + layout, " | data %d x context %d x tensor %d", &data, &context,
                    &tensor) != 3) {
      continue;
    }
    run.ranks = data * context * tensor;
    run.announced.clear();
    for (size_t at = kTime; at < line.size();) {
      const size_t end = std::min(line.find(" | ", at), line.size());
      run.announced.push_back(line.substr(at, end - at));
      at = end + 3;
    }
  }
}

}  // namespace

std::string TrainingRun::value(const std::string& key) const {
  for (const auto& [each, text] : config) {
    if (each == key) return text;
  }
  return {};
}

bool is_run_folder(const std::string& folder) {
  return is_there(folder + "/" + train::RunFolder::kRecord) || is_there(folder + "/metrics.jsonl");
}

TrainingRun read_run(const std::string& folder) {
  TrainingRun run;
  run.folder = folder;
  // First: what the run says between two looks is told by the next page.
  run.going_on = folder_in_use(folder);
  const std::string record = folder + "/" + train::RunFolder::kRecord;
  if (is_there(record)) {
    train::Removal unused;
    constexpr uint64_t kLongestRecord = uint64_t(1) << 20;
    const train::RunRecord told =
        train::parse_run(read_small_file(record, kLongestRecord), record, unused);
    run.id = told.id;
    run.begun = told.begun;
    run.start = told.start;
    run.job = told.job;
  }
  run.metrics = read_metrics(folder + "/metrics.jsonl");
  read_config(run);
  read_log(run);
  const std::string checkpoints = folder + "/checkpoints";
  run.checkpoints = train::checkpoints_in(checkpoints);
  run.latest = train::named_in(checkpoints + "/latest");
  run.best = train::named_in(checkpoints + "/best");
  return run;
}

}  // namespace elastron::report
