#include "tests/core/file/counted_io.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace elastron::test {

IoCounts& io_counts() {
  static IoCounts counts;
  return counts;
}

namespace {

ssize_t counted_read(int fd, void* to, size_t bytes, off_t at) {
  const ssize_t got = syscall(SYS_pread64, fd, to, bytes, at);
  if (got > 0) {
    io_counts().read += uint64_t(got);
    io_counts().largest_read = std::max(io_counts().largest_read, uint64_t(got));
  }
  return got;
}

ssize_t counted_write(int fd, const void* from, size_t bytes, off_t at) {
  const ssize_t done = syscall(SYS_pwrite64, fd, from, bytes, at);
  if (done > 0) {
    io_counts().written += uint64_t(done);
    io_counts().largest_write = std::max(io_counts().largest_write, uint64_t(done));
  }
  return done;
}

}  // namespace
}  // namespace elastron::test

// The C library's, for the whole program.
extern "C" {

ssize_t pread(int fd, void* to, size_t bytes, off_t at) {
  return elastron::test::counted_read(fd, to, bytes, at);
}
ssize_t pread64(int fd, void* to, size_t bytes, off64_t at) {
  return elastron::test::counted_read(fd, to, bytes, at);
}
ssize_t pwrite(int fd, const void* from, size_t bytes, off_t at) {
  return elastron::test::counted_write(fd, from, bytes, at);
}
ssize_t pwrite64(int fd, const void* from, size_t bytes, off64_t at) {
  return elastron::test::counted_write(fd, from, bytes, at);
}
int sync_file_range(int fd, off64_t at, off64_t bytes, unsigned flags) {
  auto& counts = elastron::test::io_counts();
  if (counts.disk_fails) {
    errno = EIO;
    return -1;
  }
  if ((flags & SYNC_FILE_RANGE_WAIT_AFTER) != 0) counts.waited_for += uint64_t(bytes);
  return int(syscall(SYS_sync_file_range, fd, at, bytes, flags));
}

}  // extern "C"
