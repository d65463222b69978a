// A folder of published predictions, scored.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace elastron::benchmark {

struct ScoredFolder {
  // As the benchmark's own program leaves its result; null is a score that it has no rows for.
  nlohmann::ordered_json published;
  // Beside these: rows, empty predictions, intervals, means of groups.
  nlohmann::ordered_json details;
  std::string table;  // for people
};

struct PredictionPath {
  std::string name;  // of the file, up to its first '.'
  std::string path;
};
// Files of the folder that end in "jsonl", by name. InputError: no folder, or none of them.
std::vector<PredictionPath> prediction_files(const std::string& folder);

// Whether `name` was asked for: all are where no task is named.
bool is_asked_for(const std::vector<std::string>& tasks, const std::string& name);
// InputError for a task that was asked for by name and has no file.
void check_tasks_are_there(const std::vector<std::string>& tasks,
                           const std::vector<PredictionPath>& files, const std::string& folder);

}  // namespace elastron::benchmark
