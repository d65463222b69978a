#include "core/file/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

namespace elastron {

namespace {

[[noreturn]] void fail(const std::string& what, const std::string& path, int error, ExitCode kind) {
  throw Error(kind, "cannot " + what + ": " + std::strerror(error), path,
              "free space or check the folder and its permissions; nothing was replaced");
}

// A descriptor whose close() is checked.
class Descriptor {
 public:
  Descriptor(const std::string& path, int flags, ExitCode kind)
      : path_(path), kind_(kind), fd_(open(path.c_str(), flags | O_CLOEXEC, 0644)) {
    if (fd_ < 0) fail("open the file", path, errno, kind);
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  void write_all(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail("write the file", path_, errno, kind_);
      bytes = bytes.subspan(size_t(written));
    }
  }
  void allocate(uint64_t bytes) {
    int result = 0;
    do {
      result = fallocate(fd_, 0, 0, off_t(bytes));
    } while (result != 0 && errno == EINTR);
    // Not every file system can tell in advance; then writing will.
    if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
      fail("make room for " + std::to_string(bytes) + " bytes", path_, errno, kind_);
    }
  }
  void sync() {
    if (fsync(fd_) != 0) fail("sync to disk", path_, errno, kind_);
  }
  void close() {
    if (::close(std::exchange(fd_, -1)) != 0) fail("close the file", path_, errno, kind_);
  }

 private:
  std::string path_;
  ExitCode kind_;
  int fd_;
};

// Removes a file unless it was published.
class Temporary {
 public:
  explicit Temporary(std::string path) : path_(std::move(path)) {}
  ~Temporary() {
    if (!path_.empty()) unlink(path_.c_str());
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  void keep() { path_.clear(); }

 private:
  std::string path_;
};

std::string folder_of(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

void sync(const std::string& path, int flags, ExitCode kind) {
  Descriptor file(path, flags, kind);
  file.sync();
  file.close();
}

}  // namespace

TemporaryFile::~TemporaryFile() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove(path_, ignored);
}

std::string temporary_name(const std::string& path) {
  return folder_of(path) + "/." + std::filesystem::path(path).filename().string() + ".tmp";
}

void sync_file(const std::string& path, ExitCode kind) { sync(path, O_RDONLY, kind); }

void sync_folder(const std::string& folder, ExitCode kind) {
  sync(folder, O_RDONLY | O_DIRECTORY, kind);
}

void make_folder(const std::string& folder, ExitCode kind) {
  std::error_code error;
  const bool made = std::filesystem::create_directories(folder, error);
  if (error) {
    throw Error(kind, "cannot make the folder: " + error.message(), folder,
                "choose another place or check the permissions");
  }
  if (!made) return;
  const auto path = std::filesystem::absolute(folder).lexically_normal();
  sync_folder((path.has_filename() ? path : path.parent_path()).parent_path().string(), kind);
}

void check_room(const std::string& path, uint64_t bytes, ExitCode kind) {
  Temporary trial(path);
  Descriptor file(path, O_WRONLY | O_CREAT | O_EXCL, kind);
  if (bytes > 0) file.allocate(bytes);
  file.close();
}

void check_place(const std::string& path, ExitCode kind) {
  std::error_code unreadable;
  if (std::filesystem::is_directory(path, unreadable)) fail("write", path, EISDIR, kind);
  const Temporary trial(temporary_name(path));
  // Over what a killed process left, too.
  const int file = open(temporary_name(path).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) fail("write", path, errno, kind);
  ::close(file);
}

void publish_file(const std::string& temporary, const std::string& path, ExitCode kind) {
  Temporary file(temporary);
  sync_file(temporary, kind);
  if (std::rename(temporary.c_str(), path.c_str()) != 0) fail("rename to", path, errno, kind);
  file.keep();
  sync_folder(folder_of(path), kind);
}

void write_file_atomically(const std::string& path,
                           std::span<const std::span<const std::byte>> pieces, ExitCode kind) {
  Temporary temporary(temporary_name(path));
  Descriptor file(temporary_name(path), O_WRONLY | O_CREAT | O_TRUNC, kind);
  for (const auto& piece : pieces) file.write_all(piece);
  file.close();
  publish_file(temporary_name(path), path, kind);
  temporary.keep();
}

void write_text_atomically(const std::string& path, std::string_view text, ExitCode kind) {
  const std::array<std::span<const std::byte>, 1> pieces = {std::as_bytes(std::span(text))};
  write_file_atomically(path, pieces, kind);
}

}  // namespace elastron
