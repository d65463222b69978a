#include "core/file/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "core/file/path_hint.h"

namespace elastron {

namespace {

// A reader of input catches InputError, whichever function found the fault.
[[noreturn]] void fail(ExitCode kind, const std::string& what, const std::string& path,
                       const std::string& todo) {
  if (kind == ExitCode::input) throw InputError(what, path, todo);
  throw Error(kind, what, path, todo);
}

}  // namespace

InputFile::InputFile(const std::string& path, ExitCode kind) : path_(path), kind_(kind) {
  // Non-blocking, so that a pipe in the file's place cannot hang the program.
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) {
    const int error = errno;
    const bool absent = error == ENOENT || error == ENOTDIR;
    fail(kind, std::string("cannot open the file: ") + std::strerror(error), path,
         absent ? check_path(path) : "check the path and its permissions");
  }
  struct stat status {};
  if (fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(std::exchange(descriptor_, -1));
    fail(kind, "not a regular file", path, "check the path");
  }
  size_ = uint64_t(status.st_size);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      kind_(other.kind_),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_) {}

InputFile::~InputFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

void InputFile::read_at(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = pread(descriptor_, out.data(), out.size(), off_t(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      fail(kind_, std::string("cannot read the file: ") + std::strerror(errno), path_,
           "check the disk");
    }
    if (got == 0) {
      fail(kind_, "the file ends at byte " + std::to_string(offset), path_,
           "it was cut off; copy it again");
    }
    out = out.subspan(size_t(got));
    offset += uint64_t(got);
  }
}

void InputFile::will_read(uint64_t offset, uint64_t bytes) const noexcept {
  // Advice: where it is not taken, reading takes longer.
  static_cast<void>(posix_fadvise(descriptor_, off_t(offset), off_t(bytes), POSIX_FADV_WILLNEED));
}

void refuse_lfs_pointer(const InputFile& file) {
  constexpr std::string_view kBegin = "version https://git-lfs.github.com/spec/";
  if (file.size() < kBegin.size()) return;
  std::string begin(kBegin.size(), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(begin)));
  if (begin != kBegin) return;
  throw InputError("this is a Git LFS pointer, not the file itself", file.path(),
                   "run git lfs pull in its folder");
}

std::string read_small_file(const std::string& path, uint64_t most) {
  const InputFile file(path);
  if (file.size() > most) {
    throw InputError("the file has " + std::to_string(file.size()) + " bytes", path,
                     "at most " + std::to_string(most) + " are accepted; check the path");
  }
  refuse_lfs_pointer(file);
  std::string text(size_t(file.size()), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace elastron
