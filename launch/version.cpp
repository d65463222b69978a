#include "launch/version.h"

#include <fmt/format.h>

namespace elastron::launch {

std::string version_number() { return ELASTRON_VERSION; }

std::string version_text() {
  return fmt::format("elastron {} ({})\ncompiler: g++ {}\nfmt: {}\nback ends: cpu (oneDNN)",
                     ELASTRON_VERSION, ELASTRON_GIT_REVISION, __VERSION__, FMT_VERSION);
}

}  // namespace elastron::launch
