// Preloaded into the program: the metrics of step k are not written before $READS_A_STEP * (k + 1)
// reads, or $READS_IN_ALL if that is less, of files whose path has $READS_PATH in it were made by
// other threads than the first. Who reads for a step only when the one before is over never ends.
// How many reads there were is in $READS_REPORT at the end.
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "tests/launch/preloaded.h"

using elastron::test::is_of;
using elastron::test::next;

namespace {

std::mutex mutex;
std::condition_variable more;
long reads = 0, steps = 0;  // guarded by mutex

bool on_the_first_thread() { return syscall(SYS_gettid) == getpid(); }

long setting(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::atol(text) : 0;
}

ssize_t count(int fd, ssize_t got) {
  if (got > 0 && !on_the_first_thread() && is_of(fd, std::getenv("READS_PATH"))) {
    const std::lock_guard lock(mutex);
    ++reads;
    more.notify_all();
  }
  return got;
}

void wait_for_the_next_step() {
  std::unique_lock lock(mutex);
  const long wanted = std::min(setting("READS_A_STEP") * (++steps + 1), setting("READS_IN_ALL"));
  more.wait(lock, [&] { return reads >= wanted; });
}

__attribute__((destructor)) void report() {
  const char* path = std::getenv("READS_REPORT");
  std::FILE* file = path != nullptr && reads > 0 ? std::fopen(path, "w") : nullptr;
  if (file == nullptr) return;
  std::fprintf(file, "%ld", reads);
  std::fclose(file);
}

}  // namespace

extern "C" {

ssize_t pread(int fd, void* to, size_t bytes, off_t at) {
  static const auto real = next<decltype(&::pread)>("pread");
  return count(fd, real(fd, to, bytes, at));
}
ssize_t pread64(int fd, void* to, size_t bytes, off64_t at) {
  static const auto real = next<decltype(&::pread64)>("pread64");
  return count(fd, real(fd, to, bytes, at));
}
ssize_t write(int fd, const void* data, size_t bytes) {
  static const auto real = next<decltype(&::write)>("write");
  if (on_the_first_thread() && is_of(fd, "metrics.jsonl")) wait_for_the_next_step();
  return real(fd, data, bytes);
}

}  // extern "C"
