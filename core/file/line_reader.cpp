#include "core/file/line_reader.h"

#include <algorithm>
#include <span>

namespace elastron {

namespace {
constexpr uint64_t kBufferBytes = uint64_t(1) << 20;
}

LineReader::LineReader(const std::string& path, size_t longest_line)
    : file_(path), longest_(longest_line) {
  if (file_.size() == 0) throw InputError("the file is empty", path, "check the path");
}

bool LineReader::refill() {
  buffer_.resize(size_t(std::min(kBufferBytes, file_.size() - at_)));
  begin_ = 0;
  file_.read_at(at_, std::as_writable_bytes(std::span(buffer_)));
  at_ += buffer_.size();
  return !buffer_.empty();
}

bool LineReader::next() {
  long_line_.clear();
  newline_ = false;
  if (begin_ == buffer_.size() && !refill()) return false;
  ++number_;
  do {
    const std::string_view rest(buffer_.data() + begin_, buffer_.size() - begin_);
    const size_t newline = rest.find('\n');
    newline_ = newline != rest.npos;
    const std::string_view part = rest.substr(0, newline);
    begin_ += part.size() + (newline_ ? 1 : 0);
    if (long_line_.size() + part.size() > longest_) {
      throw InputError("the line is over " + std::to_string(longest_ >> 20) + " MiB", where(),
                       "split the record");
    }
    if (newline_ && long_line_.empty()) {
      line_ = part;
      return true;
    }
    long_line_ += part;
  } while (!newline_ && refill());
  line_ = long_line_;
  return true;
}

}  // namespace elastron
