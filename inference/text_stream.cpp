#include "inference/text_stream.h"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace elastron::inference {

namespace {

// What a tokenizer makes of bytes that are no character, or not all of one.
constexpr std::string_view kNoCharacter = "\xef\xbf\xbd";

// Bytes at the end of `text` that `stop` begins with, but not all of `stop`.
size_t begun(std::string_view text, std::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.ends_with(stop.substr(0, n))) return n;
  }
  return 0;
}

}  // namespace

TextStream::TextStream(const data::Tokenizer& tokenizer, std::vector<std::string> stops,
                       bool skip_controls)
    : tokenizer_(tokenizer), stops_(std::move(stops)), skip_controls_(skip_controls) {
  std::erase(stops_, std::string());
}

std::string TextStream::add(int32_t id) {
  ELASTRON_CHECK(!stopped_, "the text has ended");
  if (skip_controls_ && tokenizer_.is_control(id)) return {};
  ids_.push_back(id);
  const std::string more = behind_before();
  if (more.ends_with(kNoCharacter)) return {};
  held_ += more;
  ids_.erase(ids_.begin(), ids_.begin() + std::ptrdiff_t(before_));
  before_ = ids_.size();
  return pass();
}

std::string TextStream::finish() {
  if (stopped_) return {};
  held_ += behind_before();
  before_ = ids_.size();
  std::string text = pass();
  if (!stopped_) text += held_;
  held_.clear();
  return text;
}

// The text of a token depends on whether it is the first.
std::string TextStream::behind_before() const {
  const std::string text = tokenizer_.decode(ids_);
  size_t at = tokenizer_.decode({ids_.begin(), ids_.begin() + std::ptrdiff_t(before_)}).size();
  // Bytes that are no character can change what stood before them.
  while (at < text.size() && (uint8_t(text[at]) & 0xc0) == 0x80) ++at;
  return at < text.size() ? text.substr(at) : std::string();
}

// -> of held_ what is sure.
std::string TextStream::pass() {
  size_t end = held_.size(), stop_at = std::string::npos;
  for (const std::string& stop : stops_) {
    stop_at = std::min(stop_at, held_.find(stop));
    end = std::min(end, held_.size() - begun(held_, stop));
  }
  stopped_ = stop_at != std::string::npos;
  std::string text = held_.substr(0, stopped_ ? stop_at : end);
  held_.erase(0, text.size());
  return text;
}

}  // namespace elastron::inference
