#pragma once
#include <string>

namespace elastron::launch {

std::string version_number();
// Program, git revision, compiler and the libraries in use, a line each.
std::string version_text();

}  // namespace elastron::launch
