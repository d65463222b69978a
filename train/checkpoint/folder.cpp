#include "train/checkpoint/folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "core/error.h"
#include "core/file/atomic_file.h"
#include "core/file/exists.h"
#include "core/file/input_file.h"
#include "core/file/path_hint.h"

namespace elastron::train {

namespace fs = std::filesystem;

namespace {
const std::string kPrefix = "step-", kSuffix = ".h5";
constexpr const char *kLatest = "latest", *kBest = "best", *kCheckpoints = "checkpoints";
constexpr uint64_t kLongestPointer = 4096;
}  // namespace

std::string checkpoint_name(int64_t step) {
  return fmt::format("{}{:08d}{}", kPrefix, step, kSuffix);
}

int64_t step_of(const std::string& name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix) ||
      name.size() <= kPrefix.size() + kSuffix.size()) {
    return -1;
  }
  const std::string digits =
      name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
  if (digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(digits);
}

void prepare_checkpoint_folder(const std::string& folder) {
  make_folder(folder);
  std::error_code error;
  auto entries = fs::directory_iterator(folder, error);
  if (error) {
    throw UsageError("cannot read the folder: " + error.message(), folder,
                     "check output.dir and its permissions");
  }
  std::vector<fs::path> leftover;
  for (const auto& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.') && name.ends_with(".tmp")) leftover.push_back(entry.path());
  }
  for (const fs::path& path : leftover) fs::remove(path, error);
}

std::vector<std::string> checkpoints_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (step_of(name) >= 0) names.push_back(name);
  }
  std::ranges::sort(names, [](const std::string& a, const std::string& b) {
    return std::pair(step_of(a), a) > std::pair(step_of(b), b);
  });
  return names;
}

std::string named_in(const std::string& file) {
  if (!exists(file)) return {};
  try {
    const std::string text = read_small_file(file, kLongestPointer);
    const std::string name = text.substr(0, text.find('\n'));
    return step_of(name) >= 0 ? name : std::string();
  } catch (const Error&) {
    return {};
  }
}

std::string pointer_fault(const std::string& file) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(file, error))) return {};
  const std::string name = named_in(file);
  if (name.empty()) return "it does not name a checkpoint";
  const bool there = exists(fs::path(file).parent_path() / name);
  return there ? std::string() : "it names " + name + ", which is not there";
}

void point_at(const std::string& file, int64_t step) {
  write_text_atomically(file, checkpoint_name(step) + "\n", ExitCode::checkpoint);
}

std::vector<std::string> resume_candidates(const std::string& folder) {
  auto names = checkpoints_in(folder);
  const std::string latest = named_in(folder + "/latest");
  if (latest.empty()) return names;
  std::erase(names, latest);
  // Not of std::ranges: clang 14, which builds the fuzz targets, does not take that one.
  std::stable_partition(names.begin(), names.end(),
                        [&](const std::string& name) { return step_of(name) <= step_of(latest); });
  names.insert(names.begin(), latest);
  return names;
}

namespace {

bool is_pointer(const std::string& name) { return name == kLatest || name == kBest; }

bool is_file(const fs::path& path) {
  std::error_code unreadable_is_absent;
  return exists(path) && !fs::is_directory(path, unreadable_is_absent);
}

std::string named_by(const fs::path& file) {
  const std::string name = named_in(file.string());
  if (name.empty()) {
    throw CheckpointError("the file does not name a checkpoint", file.string(),
                          "name a step-*.h5 file");
  }
  return (file.parent_path() / name).string();
}

}  // namespace

std::string resolve_checkpoint(const std::string& named, const std::string& run_folder) {
  const bool word = is_pointer(named);
  const fs::path path =
      word && !run_folder.empty() ? fs::path(run_folder) / named : fs::path(named);
  std::error_code error;
  if (fs::is_directory(path, error)) {
    for (const fs::path& folder : {path, path / kCheckpoints}) {
      if (is_file(folder / kLatest)) return named_by(folder / kLatest);
    }
    throw CheckpointError("the folder has no checkpoint", path.string(), "name a step-*.h5 file");
  }
  if (is_pointer(path.filename().string())) {
    for (const fs::path& file : {path, path.parent_path() / kCheckpoints / path.filename()}) {
      if (is_file(file)) return named_by(file);
    }
    if (word && run_folder.empty()) {
      throw CheckpointError("'" + named + "' is said of a run, and no configuration names one",
                            named, "write RUNFOLDER/" + named);
    }
    if (fs::is_directory(path.parent_path() / kCheckpoints, error)) {
      throw CheckpointError("the run has no '" + path.filename().string() + "' checkpoint",
                            path.parent_path().string(),
                            path.filename() == kBest ? "only runs with eval.every have one"
                                                     : "name a step-*.h5 file");
    }
  }
  if (!exists(path)) {
    throw CheckpointError("the checkpoint does not exist", path.string(),
                          check_path(path.string()));
  }
  return path.string();
}

}  // namespace elastron::train
