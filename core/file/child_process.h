// Reading what a library may crash on, in a child process with limits on time, memory and output.
#pragma once
#include <functional>
#include <string>

#include "core/error.h"

namespace elastron {

// `read`'s result, computed in a child process. An Error thrown by `read` is thrown here; a crash,
// a hang or a lack of memory become one of kind `kind`. `path` and `remedy` are for messages.
std::string read_in_child(const std::string& path, ExitCode kind, const std::string& remedy,
                          const std::function<std::string()>& read);

}  // namespace elastron
