// Makes files slow: preloaded, a read of a file whose path contains $SLOW_PATH takes a second for
// $SLOW_BYTES bytes, and so does a write.
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "tests/launch/preloaded.h"

using elastron::test::is_of;
using elastron::test::next;

namespace {

ssize_t after(int fd, ssize_t bytes) {
  if (bytes > 0 && is_of(fd, std::getenv("SLOW_PATH"))) {
    const double rate = std::atof(std::getenv("SLOW_BYTES"));
    std::this_thread::sleep_for(std::chrono::duration<double>(double(bytes) / rate));
  }
  return bytes;
}

}  // namespace

extern "C" {

ssize_t pread(int fd, void* to, size_t bytes, off_t at) {
  static const auto real = next<decltype(&::pread)>("pread");
  return after(fd, real(fd, to, bytes, at));
}
ssize_t pread64(int fd, void* to, size_t bytes, off64_t at) {
  static const auto real = next<decltype(&::pread64)>("pread64");
  return after(fd, real(fd, to, bytes, at));
}
ssize_t pwrite(int fd, const void* from, size_t bytes, off_t at) {
  static const auto real = next<decltype(&::pwrite)>("pwrite");
  return after(fd, real(fd, from, bytes, at));
}
ssize_t pwrite64(int fd, const void* from, size_t bytes, off64_t at) {
  static const auto real = next<decltype(&::pwrite64)>("pwrite64");
  return after(fd, real(fd, from, bytes, at));
}

}  // extern "C"
