#include "benchmark/scores/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <optional>

#include "benchmark/scores/letter_case.h"
#include "core/error.h"
#include "core/utf8.h"
#include "data/space.h"

namespace elastron::benchmark {

namespace {

constexpr char32_t kCapitalSigma = 0x3a3;
constexpr char32_t kCapitalIWithDot = 0x130;  // the one letter whose small form is two characters

struct Character {
  char32_t point = 0;
  size_t bytes = 1;
};

Character character_at(std::string_view text, size_t at) {
  if (const auto byte = uint8_t(text[at]); byte < 0x80) return {byte, 1};
  utf8proc_int32_t point = 0;
  const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                                      utf8proc_ssize_t(text.size() - at), &point);
  ELASTRON_CHECK(bytes > 0, "text for a score must be UTF-8");
  return {char32_t(point), size_t(bytes)};
}

bool is_digit(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return utf8proc_category(utf8proc_int32_t(c)) == UTF8PROC_CATEGORY_ND;
}

// \w: letters and all that has a numeric value, which are the categories of numbers; marks are not.
bool is_word(char32_t c) {
  switch (utf8proc_category(utf8proc_int32_t(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return true;
    default: return c == '_';
  }
}

// Whether the letter nearest to `at` in that direction, past what does not count, has a case.
bool cased_letter_beside(const std::u32string& text, size_t at, int direction) {
  for (auto i = ptrdiff_t(at) + direction; i >= 0 && i < ptrdiff_t(text.size()); i += direction) {
    if (!is_case_ignorable(text[size_t(i)])) return is_cased(text[size_t(i)]);
  }
  return false;
}

// The end of the run of characters from `at` on that are of a kind.
template <class OfKind>
size_t end_of_run(std::string_view text, size_t at, OfKind of_kind) {
  while (at < text.size()) {
    const Character c = character_at(text, at);
    if (!of_kind(c.point)) break;
    at += c.bytes;
  }
  return at;
}

}  // namespace

std::u32string code_points(std::string_view text) {
  std::u32string points;
  points.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    points.push_back(c.point);
    at += c.bytes;
  }
  return points;
}

std::string lower(std::string_view text) {
  std::string small;
  small.reserve(text.size());
  std::optional<std::u32string> points;  // for sigma, which looks around
  size_t count = 0;                      // of characters before `at`
  for (size_t at = 0; at < text.size(); ++count) {
    const Character c = character_at(text, at);
    at += c.bytes;
    if (c.point < 0x80) {
      small += c.point >= 'A' && c.point <= 'Z' ? char(c.point - 'A' + 'a') : char(c.point);
    } else if (c.point == kCapitalIWithDot) {
      small += "i\xcc\x87";
    } else if (c.point == kCapitalSigma) {
      if (!points) points = code_points(text);
      const bool final =
          cased_letter_beside(*points, count, -1) && !cased_letter_beside(*points, count, 1);
      small += final ? "\xcf\x82" : "\xcf\x83";
    } else {
      small += in_utf8(uint32_t(utf8proc_tolower(utf8proc_int32_t(c.point))));
    }
  }
  return small;
}

std::string_view stripped(std::string_view text) {
  return data::without_trailing_space(data::without_leading_space(text));
}

std::string_view without_leading_newlines(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  return text;
}

std::string_view first_line(std::string_view text) { return text.substr(0, text.find('\n')); }

std::vector<std::string_view> split_at(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  for (size_t end = text.find(separator); end != text.npos; end = text.find(separator)) {
    pieces.push_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  pieces.push_back(text);
  return pieces;
}

std::vector<std::string_view> digit_runs(std::string_view text) {
  std::vector<std::string_view> runs;
  for (size_t at = 0; at < text.size();) {
    const size_t end = end_of_run(text, at, is_digit);
    if (end > at) runs.push_back(text.substr(at, end - at));
    at = end == at ? at + character_at(text, at).bytes : end;
  }
  return runs;
}

std::string_view digits_after(std::string_view before, std::string_view text) {
  for (size_t at = text.find(before); at != text.npos; at = text.find(before, at + 1)) {
    const size_t begin = at + before.size(), end = end_of_run(text, begin, is_digit);
    if (end > begin) return text.substr(begin, end - begin);
  }
  return {};
}

std::string without_words(std::string_view text, const std::vector<std::string_view>& words) {
  std::string left;
  left.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t end = end_of_run(text, at, is_word);
    if (end == at) {
      const size_t bytes = character_at(text, at).bytes;
      left += text.substr(at, bytes);
      at += bytes;
      continue;
    }
    const std::string_view word = text.substr(at, end - at);
    left += std::ranges::find(words, word) != words.end() ? std::string_view(" ") : word;
    at = end;
  }
  return left;
}

std::string_view first_characters(std::string_view text, size_t count) {
  size_t at = 0;
  for (; count > 0 && at < text.size(); --count) at += character_at(text, at).bytes;
  return text.substr(0, at);
}

}  // namespace elastron::benchmark
