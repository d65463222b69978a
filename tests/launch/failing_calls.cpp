// Preloaded into the program: call number FAIL_AT of the function FAIL_CALL, of those that change
// files whose path has FAIL_PATH in it (default: "/checkpoints"), fails with FAIL_ERRNO, or,
// without one, is the process's last: it is killed. FAIL_REPORT is made then, and nothing fails
// where it is there already. Only in rank FAIL_RANK.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/launch/preloaded.h"

using elastron::test::next;
using elastron::test::path_of;

namespace {

std::atomic<long> calls{0};

bool watched(const char* path) {
  const char* part = std::getenv("FAIL_PATH");
  return path != nullptr && std::strstr(path, part != nullptr ? part : "/checkpoints") != nullptr;
}

bool watched(int descriptor) {
  const std::string path = path_of(descriptor);
  return !path.empty() && watched(path.c_str());
}

bool writable(int descriptor) {
  const int flags = fcntl(descriptor, F_GETFL, 0);
  return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

// Whether this call is the one that fails.
bool fails(const char* name) {
  const char* at = std::getenv("FAIL_AT");
  const char* report = std::getenv("FAIL_REPORT");
  if (at == nullptr || report == nullptr || access(report, F_OK) == 0) return false;
  const char* wanted = std::getenv("FAIL_RANK");
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  if (wanted != nullptr && rank != nullptr && std::strcmp(wanted, rank) != 0) return false;
  const char* call = std::getenv("FAIL_CALL");
  if (call == nullptr || std::strcmp(call, name) != 0 || ++calls != std::atol(at)) return false;
  if (std::FILE* file = std::fopen(report, "w")) {
    std::fputs(name, file);
    std::fclose(file);
  }
  const char* error = std::getenv("FAIL_ERRNO");
  if (error == nullptr) kill(getpid(), SIGKILL);
  errno = std::atoi(error);
  return true;
}

}  // namespace

#define CALL(name, ...)                                    \
  static const auto real = next<decltype(&::name)>(#name); \
  return real(__VA_ARGS__)
#define FAIL_IF(condition, name) \
  if ((condition) && fails(name)) return -1

extern "C" {

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  FAIL_IF((flags & O_ACCMODE) != O_RDONLY && watched(path), "open");
  CALL(open, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  FAIL_IF((flags & O_ACCMODE) != O_RDONLY && watched(path), "open64");
  CALL(open64, path, flags, mode);
}
ssize_t write(int fd, const void* data, size_t size) {
  FAIL_IF(watched(fd), "write");
  CALL(write, fd, data, size);
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  FAIL_IF(watched(fd), "pwrite");
  CALL(pwrite, fd, data, size, at);
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t at) {
  FAIL_IF(watched(fd), "pwrite64");
  CALL(pwrite64, fd, data, size, at);
}
ssize_t writev(int fd, const iovec* vectors, int count) {
  FAIL_IF(watched(fd), "writev");
  CALL(writev, fd, vectors, count);
}
ssize_t pwritev(int fd, const iovec* vectors, int count, off_t at) {
  FAIL_IF(watched(fd), "pwritev");
  CALL(pwritev, fd, vectors, count, at);
}
int ftruncate(int fd, off_t size) noexcept {
  FAIL_IF(watched(fd), "ftruncate");
  CALL(ftruncate, fd, size);
}
int ftruncate64(int fd, off64_t size) noexcept {
  FAIL_IF(watched(fd), "ftruncate64");
  CALL(ftruncate64, fd, size);
}
int fallocate(int fd, int mode, off_t at, off_t size) {
  FAIL_IF(watched(fd), "fallocate");
  CALL(fallocate, fd, mode, at, size);
}
int fsync(int fd) {
  FAIL_IF(watched(fd), "fsync");
  CALL(fsync, fd);
}
int close(int fd) {
  if (writable(fd) && watched(fd) && fails("close")) {
    const int error = errno;
    static const auto real = next<decltype(&::close)>("close");
    real(fd);
    errno = error;
    return -1;
  }
  CALL(close, fd);
}
int fcntl(int fd, int command, ...) {
  va_list rest;
  va_start(rest, command);
  void* argument = va_arg(rest, void*);
  va_end(rest);
  FAIL_IF(command == F_SETLK && watched(fd), "fcntl");
  CALL(fcntl, fd, command, argument);
}
int mkdir(const char* path, mode_t mode) noexcept {
  FAIL_IF(watched(path), "mkdir");
  CALL(mkdir, path, mode);
}
int unlink(const char* path) noexcept {
  FAIL_IF(watched(path), "unlink");
  CALL(unlink, path);
}
int remove(const char* path) noexcept {
  FAIL_IF(watched(path), "remove");
  CALL(remove, path);
}
int rename(const char* from, const char* to) noexcept {
  FAIL_IF(watched(to), "rename");
  CALL(rename, from, to);
}

}  // extern "C"
