#include "data/tokenizer/split.h"

#include <utf8proc.h>

#include <algorithm>

#include "core/error.h"

namespace elastron::data {

namespace {

enum class CharClass : uint8_t { space, word, other };

// Unicode White_Space. utf8proc and PCRE2 have other ideas (U+180E, for one).
bool is_white_space(int32_t c) {
  return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

bool is_word(int32_t c) {
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return true;
    default:
      // Join_Control, and what Other_Alphabetic adds beside marks: enclosed letters.
      return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) ||
             (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
             (c >= 0x1f170 && c <= 0x1f189);
  }
}

CharClass classify(int32_t c) {
  if (is_white_space(c)) return CharClass::space;
  return is_word(c) ? CharClass::word : CharClass::other;
}

// The code point at `at`, and its length in bytes.
std::pair<int32_t, size_t> code_point(std::string_view text, size_t at) {
  if (const auto byte = uint8_t(text[at]); byte < 0x80) return {byte, 1};
  utf8proc_int32_t c = 0;
  const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                                      utf8proc_ssize_t(text.size() - at), &c);
  ELASTRON_CHECK(bytes > 0, "text for a tokenizer must be UTF-8");
  return {c, size_t(bytes)};
}

// Maximal runs of one class, without the spaces; `class_of` names a code point's class.
template <class ClassOf>
std::vector<std::string_view> runs(std::string_view text, ClassOf class_of) {
  std::vector<std::string_view> pieces;
  size_t begin = 0;
  CharClass current = CharClass::space;
  const auto flush = [&](size_t end) {
    if (current != CharClass::space) pieces.push_back(text.substr(begin, end - begin));
    begin = end;
  };
  for (size_t at = 0; at < text.size();) {
    const auto [c, bytes] = code_point(text, at);
    if (const CharClass next = class_of(c); next != current) {
      flush(at);
      current = next;
    }
    at += bytes;
  }
  flush(text.size());
  return pieces;
}

}  // namespace

bool is_white_space(std::string_view character) {
  utf8proc_int32_t c = 0;
  const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(character.data()),
                                      utf8proc_ssize_t(character.size()), &c);
  return bytes > 0 && is_white_space(c);
}

std::vector<std::string_view> split_whitespace(std::string_view text) {
  return runs(text,
              [](int32_t c) { return is_white_space(c) ? CharClass::space : CharClass::other; });
}

std::vector<std::string_view> split_words(std::string_view text) { return runs(text, classify); }

}  // namespace elastron::data
