// A file mapped read-only into memory.
#pragma once
#include <cstddef>
#include <span>
#include <string>

namespace elastron {

class MappedFile {
 public:
  // Throws InputError naming the path: missing, not a regular file, empty.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace elastron
