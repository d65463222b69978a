#include "tests/fuzz/input.h"

#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>

namespace elastron::fuzz {

InputAsFile::InputAsFile(std::string_view bytes)
    : descriptor_(memfd_create("input", MFD_CLOEXEC)),
      path_("/proc/self/fd/" + std::to_string(descriptor_)) {
  require(descriptor_ >= 0);
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t written = write(descriptor_, bytes.data() + at, bytes.size() - at);
    require(written > 0);
    at += size_t(written);
  }
}

InputAsFile::~InputAsFile() { close(descriptor_); }

const std::string& scratch_folder() {
  struct Folder {
    std::string path = (std::filesystem::temp_directory_path() / "elastron-fuzz-XXXXXX").string();
    Folder() { require(mkdtemp(path.data()) != nullptr); }
    ~Folder() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
  };
  static const Folder folder;
  return folder.path;
}

}  // namespace elastron::fuzz
