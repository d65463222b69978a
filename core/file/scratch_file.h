// Bytes that do not fit in memory: a file without a name, which is gone when the process ends,
// however it ends.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace elastron {

class ScratchFile {
 public:
  // In `folder`. All errors are InputErrors naming the folder and errno: a full disk, say.
  explicit ScratchFile(const std::string& folder);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  uint64_t size() const { return written_ + buffer_.size(); }
  void append(std::span<const std::byte> bytes);
  // Fills `out` from `offset` on, which must all have been appended.
  void read_at(uint64_t offset, std::span<std::byte> out);

 private:
  void flush();
  [[noreturn]] void fail(const char* what, int error) const;

  std::string folder_;
  int descriptor_ = -1;
  uint64_t written_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace elastron
