// The completion of the program's arguments by bash.
#pragma once
#include <string>
#include <vector>

#include "launch/command_text.h"

namespace elastron::launch {

// A script that bash reads; it needs nothing else. `keys`: of the configuration, for --set.
std::string bash_completion(const cli::CommandText& program, const std::vector<std::string>& keys);

}  // namespace elastron::launch
