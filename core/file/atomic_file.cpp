#include "core/file/atomic_file.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>
#include <utility>

#include "core/error.h"

namespace elastron {

namespace {

[[noreturn]] void fail(const std::string& what, const std::string& path, int error) {
  throw InputError("cannot " + what + ": " + std::strerror(error), path,
                   "free space or check the folder's permissions; nothing was replaced");
}

// A descriptor whose close() is checked: that is where a full disk may show first.
class Descriptor {
 public:
  Descriptor(const std::string& path, int flags) : path_(path), fd_(open(path.c_str(), flags, 0644)) {
    if (fd_ < 0) fail("open the file", path, errno);
  }
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  void write_all(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail("write the file", path_, errno);
      bytes = bytes.subspan(size_t(written));
    }
  }
  void sync_and_close() {
    if (fsync(fd_) != 0) fail("sync the file to disk", path_, errno);
    const int fd = std::exchange(fd_, -1);
    if (close(fd) != 0) fail("close the file", path_, errno);
  }

 private:
  std::string path_;
  int fd_;
};

std::string folder_of(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

}  // namespace

std::string temporary_name(const std::string& path) {
  const std::filesystem::path p(path);
  return folder_of(path) + "/." + p.filename().string() + ".tmp";
}

void sync_file(const std::string& path) { Descriptor(path, O_RDONLY | O_CLOEXEC).sync_and_close(); }

void sync_folder(const std::string& folder) {
  Descriptor(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC).sync_and_close();
}

void publish_file(const std::string& temporary, const std::string& path) {
  try {
    sync_file(temporary);
    if (std::rename(temporary.c_str(), path.c_str()) != 0) fail("rename to", path, errno);
    sync_folder(folder_of(path));
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw;
  }
}

void write_file_atomically(const std::string& path,
                           std::span<const std::span<const std::byte>> pieces) {
  const std::string temporary = temporary_name(path);
  try {
    Descriptor file(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);
    for (const auto& piece : pieces) file.write_all(piece);
    file.sync_and_close();
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw;
  }
  publish_file(temporary, path);
}

void write_text_atomically(const std::string& path, std::string_view text) {
  const std::array<std::span<const std::byte>, 1> pieces = {std::as_bytes(std::span(text))};
  write_file_atomically(path, pieces);
}

}  // namespace elastron
