#include "launch/shipped_files.h"

#include <filesystem>

namespace elastron::launch {

namespace fs = std::filesystem;

std::string shipped_folder(const std::string& name, const std::vector<std::string>& config_files) {
  std::vector<fs::path> places;
  for (const std::string& file : config_files) {
    const fs::path folder = fs::path(file).parent_path();
    places.push_back(folder / name);
    places.push_back(folder / ".." / name);
  }
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  for (fs::path at = program.parent_path(); at.has_relative_path(); at = at.parent_path()) {
    places.push_back(at / "configs" / name);
    places.push_back(at / "share/elastron/configs" / name);
  }
  for (const fs::path& place : places) {
    if (fs::is_directory(place, error)) return place.lexically_normal().string();
  }
  return "";
}

}  // namespace elastron::launch
