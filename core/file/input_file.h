// A file read by position. Unlike a mapped one it cannot take the process down when somebody cuts
// it off while it is open.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/error.h"

namespace elastron {

class InputFile {
 public:
  // Errors are of kind `kind` and name the path: here, missing or not a regular file.
  explicit InputFile(const std::string& path, ExitCode kind = ExitCode::input);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }  // when it was opened
  // Fills `out` from `offset` on. Throws when the disk fails or the file is shorter.
  void read_at(uint64_t offset, std::span<std::byte> out) const;
  // These bytes are read soon: the kernel may fetch them meanwhile. Bytes beyond the file are no
  // matter.
  void will_read(uint64_t offset, uint64_t bytes) const noexcept;

 private:
  std::string path_;
  ExitCode kind_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

// Throws InputError where the file is the few lines that Git LFS leaves in the place of one that it
// has not fetched yet. For files that come from repositories.
void refuse_lfs_pointer(const InputFile& file);

// The whole of a small file. Throws InputError when it has more than `most` bytes,
// or is the pointer to a file that Git LFS has not fetched.
std::string read_small_file(const std::string& path, uint64_t most);

}  // namespace elastron
