#include "core/file/exists.h"

#include <filesystem>

namespace elastron {

bool exists(const std::string& path) {
  std::error_code unreadable_is_absent;
  return std::filesystem::exists(path, unreadable_is_absent);
}

}  // namespace elastron
