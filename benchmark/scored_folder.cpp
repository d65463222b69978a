#include "benchmark/scored_folder.h"

#include <algorithm>
#include <filesystem>

#include "core/error.h"

namespace elastron::benchmark {

std::vector<PredictionPath> prediction_files(const std::string& folder) {
  std::error_code error;
  std::vector<PredictionPath> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with("jsonl") || name.starts_with('.')) continue;
    files.push_back({name.substr(0, name.find('.')), entry.path().string()});
  }
  if (error) {
    throw InputError("cannot list the folder: " + error.message(), folder,
                     "give the folder that has the predictions, <task>.jsonl");
  }
  if (files.empty()) {
    throw InputError("no files of predictions", folder,
                     "give the folder that has the predictions, <task>.jsonl");
  }
  std::ranges::sort(files, {}, &PredictionPath::path);
  return files;
}

bool is_asked_for(const std::vector<std::string>& tasks, const std::string& name) {
  return tasks.empty() || std::ranges::find(tasks, name) != tasks.end();
}

void check_tasks_are_there(const std::vector<std::string>& tasks,
                           const std::vector<PredictionPath>& files, const std::string& folder) {
  for (const std::string& task : tasks) {
    if (std::ranges::find(files, task, &PredictionPath::name) != files.end()) continue;
    throw InputError("no predictions of '" + task + "'", folder,
                     "the folder must have " + task + ".jsonl");
  }
}

}  // namespace elastron::benchmark
