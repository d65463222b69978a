// Makes files slow: preloaded, a read of a file whose path contains $SLOW_PATH takes a second for
// $SLOW_BYTES bytes, and so does a write.
#include <dlfcn.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace {

bool slow(int fd) {
  const char* part = std::getenv("SLOW_PATH");
  char link[64], path[PATH_MAX + 1];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, PATH_MAX);
  if (part == nullptr || length <= 0) return false;
  path[length] = 0;
  return std::strstr(path, part) != nullptr;
}

ssize_t after(int fd, ssize_t bytes) {
  if (bytes > 0 && slow(fd)) {
    const double rate = std::atof(std::getenv("SLOW_BYTES"));
    std::this_thread::sleep_for(std::chrono::duration<double>(double(bytes) / rate));
  }
  return bytes;
}

template <class F>
F next(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
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
