// The exit codes in words, for --help and the manual page.
#pragma once
#include <string_view>

#include "core/error.h"

namespace elastron::launch {

struct ExitCodeMeaning {
  ExitCode code;
  std::string_view meaning;
};

inline constexpr ExitCodeMeaning kExitCodes[] = {
    {ExitCode::ok, "done"},
    {ExitCode::usage, "the command line or the configuration is wrong"},
    {ExitCode::input, "data or model files are wrong, or a result could not be written"},
    {ExitCode::checkpoint, "a checkpoint cannot be read or does not match"},
    {ExitCode::numerical, "values that are not finite, or a GPU that computes wrong ones"},
    {ExitCode::communication, "a rank or a connection was lost"},
    {ExitCode::stopped, "stopped on request, after saving"},
};

}  // namespace elastron::launch
