#include "train/checkpoint/folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "core/error.h"
#include "core/file/atomic_file.h"
#include "core/file/input_file.h"

namespace elastron::train {

namespace fs = std::filesystem;

namespace {
const std::string kPrefix = "step-", kSuffix = ".h5";
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
  std::error_code error;
  if (!fs::exists(file, error)) return {};
  try {
    const std::string text = read_small_file(file, kLongestPointer);
    const std::string name = text.substr(0, text.find('\n'));
    return step_of(name) >= 0 ? name : std::string();
  } catch (const Error&) {
    return {};
  }
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

std::string resolve_checkpoint(const std::string& path) {
  std::error_code error;
  const auto named_by = [](const fs::path& file) {
    const std::string name = named_in(file.string());
    if (name.empty()) {
      throw CheckpointError("the file does not name a checkpoint", file.string(),
                            "name a step-*.h5 file");
    }
    return (file.parent_path() / name).string();
  };
  if (fs::is_directory(path, error)) {
    for (const std::string& folder : {path, path + "/checkpoints"}) {
      if (fs::exists(folder + "/latest", error)) return named_by(folder + "/latest");
    }
    throw CheckpointError("the folder has no checkpoint", path, "name a step-*.h5 file");
  }
  if (!fs::exists(path, error)) {
    throw CheckpointError("the checkpoint does not exist", path, "check the path");
  }
  const std::string name = fs::path(path).filename().string();
  return name == "latest" || name == "best" ? named_by(path) : path;
}

}  // namespace elastron::train
