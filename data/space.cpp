#include "data/space.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "data/tokenizer/split.h"

namespace elastron::data {

namespace {

bool is_space(std::string_view character) {
  return is_white_space(character) ||
         (character.size() == 1 && character[0] >= 0x1c && character[0] <= 0x1f);
}

// Counts the bytes of the character that starts with `lead`.
size_t length_of(uint8_t lead) { return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4; }

}  // namespace

std::string_view without_leading_space(std::string_view text) {
  while (!text.empty()) {
    const size_t length = std::min(length_of(uint8_t(text[0])), text.size());
    if (!is_space(text.substr(0, length))) break;
    text.remove_prefix(length);
  }
  return text;
}

std::string_view without_trailing_space(std::string_view text) {
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (uint8_t(text[last]) & 0xc0) == 0x80) --last;
    if (!is_space(text.substr(last))) break;
    text = text.substr(0, last);
  }
  return text;
}

std::vector<std::string_view> split_at_space(std::string_view text) {
  std::vector<std::string_view> pieces;
  size_t begin = 0;  // of the piece that is being read
  for (size_t at = 0; at < text.size();) {
    const size_t length = std::min(length_of(uint8_t(text[at])), text.size() - at);
    if (is_space(text.substr(at, length))) {
      if (at > begin) pieces.push_back(text.substr(begin, at - begin));
      begin = at + length;
    }
    at += length;
  }
  if (text.size() > begin) pieces.push_back(text.substr(begin));
  return pieces;
}

}  // namespace elastron::data
