#include "core/file/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "core/log.h"

namespace elastron {

AppendFile::AppendFile(std::string path)
    : path_(std::move(path)),
      descriptor_(open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) {
    throw UsageError(std::string("cannot write the file: ") + std::strerror(errno), path_,
                     "check output.dir and its permissions");
  }
}

AppendFile::~AppendFile() { close(descriptor_); }

void AppendFile::append(std::string_view record) {
  struct stat before {};
  bool whole = fstat(descriptor_, &before) == 0;
  while (whole && !record.empty()) {
    const ssize_t written = write(descriptor_, record.data(), record.size());
    if (written < 0 && errno == EINTR) continue;
    whole = written >= 0;
    if (whole) record.remove_prefix(size_t(written));
  }
  if (whole) return;
  const int error = errno;
  const bool cut = ftruncate(descriptor_, before.st_size) == 0;
  if (!warned_) {
    log_warning("cannot write {}: {}; {}", path_, std::strerror(error),
                cut ? "records are lost until there is room" : "its last record is torn");
  }
  warned_ = true;
}

}  // namespace elastron
