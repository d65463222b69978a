#include "core/file/path_hint.h"

#include <filesystem>

namespace elastron {

std::string check_path(const std::string& path) {
  const std::filesystem::path given = path;
  std::error_code error;
  const auto whole = std::filesystem::absolute(given, error);
  if (error || given.empty() || given.is_absolute()) return "check the path";
  return "check the path; seen from the working directory it is " +
         whole.lexically_normal().string();
}

}  // namespace elastron
