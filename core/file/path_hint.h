// Remedies for paths.
#pragma once
#include <string>

namespace elastron {

// For a path that is not there: "check the path", and of a relative one where it was looked for.
std::string check_path(const std::string& path);

}  // namespace elastron
