#include "launch/version.h"

#include <fmt/format.h>

#include "ops/cpu/variant.h"

namespace elastron::launch {

std::string version_number() { return ELASTRON_VERSION; }

std::string version_text() {
#if ELASTRON_WITH_CUDA
  const char* const back_ends = "cpu (oneDNN), cuda (cuBLASLt)";
#else
  const char* const back_ends = "cpu (oneDNN)";
#endif
  return fmt::format(
      "elastron {} ({})\ncompiler: g++ {}\nfmt: {}\nback ends: {}\n"
      "CPU kernels: {}",
      ELASTRON_VERSION, ELASTRON_GIT_REVISION, __VERSION__, FMT_VERSION, back_ends,
      ops::cpu::variant());
}

}  // namespace elastron::launch
