// A file that grows by whole records while a run goes on. A disk that fails must not end the run:
// the first failure is warned of, and what was written in part is cut off again.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace elastron {

class AppendFile {
 public:
  // Opens or makes the file. Throws UsageError, naming path and errno.
  explicit AppendFile(std::string path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  // One record, written at once. After a failure (warned of once) records are dropped until the
  // disk takes them again.
  void append(std::string_view record);
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int descriptor_ = -1;
  bool warned_ = false;
};

}  // namespace elastron
