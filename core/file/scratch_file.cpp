#include "core/file/scratch_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/error.h"

namespace elastron {

namespace {

constexpr size_t kBuffer = size_t(1) << 20;

int open_unnamed(const std::string& folder) {
  const int fd = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  // Not every file system can.
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return fd;
  std::string name = folder + "/.elastron-scratch-XXXXXX";
  const int named = mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) unlink(name.c_str());
  return named;
}

}  // namespace

ScratchFile::ScratchFile(const std::string& folder)
    : folder_(folder), descriptor_(open_unnamed(folder)) {
  if (descriptor_ < 0) fail("make a scratch file", errno);
  buffer_.reserve(kBuffer);
}

ScratchFile::~ScratchFile() { close(descriptor_); }

void ScratchFile::fail(const char* what, int error) const {
  throw InputError(std::string("cannot ") + what + ": " + std::strerror(error), folder_,
                   "free space or check the folder and its permissions");
}

void ScratchFile::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const size_t n = std::min(bytes.size(), kBuffer - buffer_.size());
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.begin() + std::ptrdiff_t(n));
    bytes = bytes.subspan(n);
    if (buffer_.size() == kBuffer) flush();
  }
}

void ScratchFile::flush() {
  std::span<const std::byte> rest = buffer_;
  while (!rest.empty()) {
    const ssize_t n = pwrite(descriptor_, rest.data(), rest.size(), off_t(written_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("write a scratch file", errno);
    rest = rest.subspan(size_t(n));
    written_ += uint64_t(n);
  }
  buffer_.clear();
}

void ScratchFile::read_at(uint64_t offset, std::span<std::byte> out) {
  ELASTRON_CHECK(offset + out.size() <= size(), "more than was appended");
  if (offset + out.size() > written_) flush();
  while (!out.empty()) {
    const ssize_t n = pread(descriptor_, out.data(), out.size(), off_t(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail("read a scratch file", n < 0 ? errno : EIO);
    out = out.subspan(size_t(n));
    offset += uint64_t(n);
  }
}

}  // namespace elastron
