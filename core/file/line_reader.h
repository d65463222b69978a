// The lines of a text file, one at a time, in bounded memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/file/input_file.h"

namespace elastron {

class LineReader {
 public:
  // Throws InputError naming the path: missing, not a regular file, empty.
  LineReader(const std::string& path, size_t longest_line);

  // The next line, without its newline, as a view that holds until the next call; false at the end.
  // Throws InputError for a line over the limit, for a file that shrank, and when the disk fails.
  bool next();
  std::string_view line() const { return line_; }
  int64_t number() const { return number_; }          // of line(), from 1
  bool ended_by_newline() const { return newline_; }  // false at most for the last line
  std::string where() const { return file_.path() + ":" + std::to_string(number_); }
  uint64_t bytes_read() const { return at_ - (buffer_.size() - begin_); }
  uint64_t bytes() const { return file_.size(); }

 private:
  bool refill();

  InputFile file_;
  size_t longest_;
  uint64_t at_ = 0;           // in the file, of what has not been read into the buffer
  std::vector<char> buffer_;  // [begin_, size) has not been handed out
  size_t begin_ = 0;
  std::string long_line_;  // a line that spans buffers
  std::string_view line_;
  int64_t number_ = 0;
  bool newline_ = false;
};

}  // namespace elastron
