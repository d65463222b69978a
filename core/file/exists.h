#pragma once
#include <string>

namespace elastron {

// Whether there is a file or folder of that name. One in a folder that may not be looked into is
// not there: who opens it says why.
bool exists(const std::string& path);

}  // namespace elastron
