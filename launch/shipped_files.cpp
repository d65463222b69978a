#include "launch/shipped_files.h"

#include <algorithm>
#include <filesystem>

namespace elastron::launch {

namespace fs = std::filesystem;

namespace {

// The folders that may hold configs/, nearest first: those above the program, and share/elastron in
// each of them.
std::vector<fs::path> places_of_program() {
  std::vector<fs::path> places;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  for (fs::path at = program.parent_path(); at.has_relative_path(); at = at.parent_path()) {
    places.push_back(at);
    places.push_back(at / "share/elastron");
  }
  return places;
}

}  // namespace

std::string shipped_folder(const std::string& name, const std::vector<std::string>& config_files) {
  std::vector<fs::path> folders;
  for (const std::string& file : config_files) {
    const fs::path folder = fs::path(file).parent_path();
    folders.push_back(folder / name);
    folders.push_back(folder / ".." / name);
  }
  for (const fs::path& place : places_of_program()) folders.push_back(place / "configs" / name);
  std::error_code error;
  const auto found = std::ranges::find_if(
      folders, [&](const fs::path& folder) { return fs::is_directory(folder, error); });
  return found == folders.end() ? "" : found->lexically_normal().string();
}

std::string shipped_path(const std::string& path) {
  std::error_code error;
  const fs::path wanted(path);
  if (wanted.empty() || *wanted.begin() != "configs" || fs::exists(wanted, error)) return path;
  for (const fs::path& place : places_of_program()) {
    if (fs::exists(place / wanted, error)) return (place / wanted).lexically_normal().string();
  }
  return path;
}

}  // namespace elastron::launch
