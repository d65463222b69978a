#include "core/file/folder_lock.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <thread>

#include "core/error.h"
#include "core/log.h"

namespace elastron {

namespace {

// A process that was killed may still be giving back its memory.
constexpr auto kPatience = std::chrono::seconds(2);
constexpr auto kPause = std::chrono::milliseconds(50);

// -> 0, or the errno.
int try_lock(int descriptor) {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  return fcntl(descriptor, F_SETLK, &whole) == 0 ? 0 : errno;
}

bool held_by_another(int error) { return error == EACCES || error == EAGAIN; }

// Network file systems without a lock service answer so.
bool no_locks_here(int error) {
  return error == ENOLCK || error == EOPNOTSUPP || error == ENOSYS || error == EINVAL;
}

std::string own_words() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host = {"an unknown host"};
  return fmt::format("process {} on {} since {:%Y-%m-%d %H:%M:%S} UTC", getpid(), host.data(),
                     fmt::gmtime(std::time(nullptr)));
}

// Reads what the holder of the lock wrote about itself.
std::string holder(int descriptor) {
  std::array<char, 512> text{};
  const ssize_t n = pread(descriptor, text.data(), text.size() - 1, 0);
  const std::string words(text.data(), n > 0 ? size_t(n) : 0);
  const std::string line = words.substr(0, words.find('\n'));
  return line.empty() ? "another process" : line;
}

}  // namespace

FolderLock::FolderLock(const std::string& folder) {
  const std::string path = folder + "/" + kFile;
  const auto refuse = [&](int error) {
    close(descriptor_);
    throw UsageError(std::string("cannot lock the folder: ") + std::strerror(error), path,
                     "check output.dir and its permissions");
  };
  descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
  if (descriptor_ < 0) refuse(errno);
  const auto patient_until = std::chrono::steady_clock::now() + kPatience;
  int error = try_lock(descriptor_);
  while (held_by_another(error) && std::chrono::steady_clock::now() < patient_until) {
    std::this_thread::sleep_for(kPause);
    error = try_lock(descriptor_);
  }
  if (held_by_another(error)) {
    const std::string other = holder(descriptor_);
    close(descriptor_);
    throw UsageError("the folder is in use by " + other, folder,
                     "wait for it, stop it, or set another output.dir");
  }
  if (no_locks_here(error)) {
    log_warning("{}: no lock ({}): see to it that no other run uses the folder", folder,
                std::strerror(error));
    return;
  }
  if (error != 0) refuse(error);
  const std::string words = own_words() + "\n";
  // For people only: without it the lock is as good.
  const bool told = ftruncate(descriptor_, 0) == 0 &&
                    pwrite(descriptor_, words.data(), words.size(), 0) == ssize_t(words.size());
  (void)told;
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

bool folder_in_use(const std::string& folder) {
  const std::string path = folder + "/" + FolderLock::kFile;
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return false;
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  const bool held = fcntl(descriptor, F_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
  close(descriptor);
  return held;
}

}  // namespace elastron
