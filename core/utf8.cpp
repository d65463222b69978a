#include "core/utf8.h"

#include <cstdint>
#include <cstring>

namespace elastron {

namespace {

struct Sequence {
  size_t bytes = 0;  // of the character, or of the longest start of one that is there
  bool whole = false;
};

// Measures the sequence at the non-ASCII byte `at`.
Sequence sequence_at(std::string_view text, size_t at) {
  const auto lead = static_cast<uint8_t>(text[at]);
  // The second byte's range excludes overlong forms, surrogates and what is above U+10FFFF.
  size_t length = 0;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  }
  if (length == 0) return {1, false};
  for (size_t k = 1; k < length; ++k) {
    if (at + k == text.size()) return {k, false};
    const auto byte = static_cast<uint8_t>(text[at + k]);
    if (byte < low || byte > high) return {k, false};
    low = 0x80;
    high = 0xBF;
  }
  return {length, true};
}

// The first byte at or after `at` that is not ASCII, or the size.
size_t skip_ascii(std::string_view text, size_t at) {
  for (uint64_t word = 0; at + sizeof word <= text.size(); at += sizeof word) {
    std::memcpy(&word, text.data() + at, sizeof word);
    if ((word & 0x8080808080808080u) != 0) break;
  }
  while (at < text.size() && static_cast<uint8_t>(text[at]) < 0x80) ++at;
  return at;
}

std::optional<size_t> first_invalid_from(std::string_view text, size_t at) {
  while ((at = skip_ascii(text, at)) < text.size()) {
    const Sequence sequence = sequence_at(text, at);
    if (!sequence.whole) return at;
    at += sequence.bytes;
  }
  return {};
}

}  // namespace

std::optional<size_t> first_invalid_utf8(std::string_view text) {
  return first_invalid_from(text, 0);
}

std::string_view replace_invalid_utf8(std::string_view text, std::string& storage) {
  auto invalid = first_invalid_from(text, 0);
  if (!invalid) return text;
  storage.clear();
  storage.reserve(text.size() + 16);
  size_t copied = 0;
  for (; invalid; invalid = first_invalid_from(text, copied)) {
    storage.append(text, copied, *invalid - copied).append("\xEF\xBF\xBD");
    copied = *invalid + sequence_at(text, *invalid).bytes;
  }
  return storage.append(text, copied);
}

std::string in_utf8(uint32_t c) {
  if (c < 0x80) return {char(c)};
  if (c < 0x800) return {char(0xc0 | c >> 6), char(0x80 | (c & 0x3f))};
  if (c < 0x10000) {
    return {char(0xe0 | c >> 12), char(0x80 | (c >> 6 & 0x3f)), char(0x80 | (c & 0x3f))};
  }
  return {char(0xf0 | c >> 18), char(0x80 | (c >> 12 & 0x3f)), char(0x80 | (c >> 6 & 0x3f)),
          char(0x80 | (c & 0x3f))};
}

}  // namespace elastron
