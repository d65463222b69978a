#include "launch/limits.h"

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <string>

#include "core/error.h"

namespace elastron::launch {

namespace {

// MPI alone opens about thirty, and then some for each rank of the machine.
constexpr rlim_t kFewestFiles = 64, kEnoughFiles = 4096;

}  // namespace

void prepare_limits() {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  if (files.rlim_cur < kEnoughFiles) {
    files.rlim_cur = std::min(kEnoughFiles, files.rlim_max);
    setrlimit(RLIMIT_NOFILE, &files);
  }
  if (files.rlim_cur >= kFewestFiles) return;
  throw UsageError("only " + std::to_string(files.rlim_cur) + " files may be open", "ulimit -n",
                   "raise the limit to at least " + std::to_string(kFewestFiles));
}

}  // namespace elastron::launch
