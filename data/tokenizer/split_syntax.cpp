#include "data/tokenizer/split_syntax.h"

#include <algorithm>
#include <cstdint>

#include "core/config/problems.h"
#include "core/error.h"

namespace elastron::data {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

class Checker {
 public:
  Checker(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  void check() {
    if (pattern_.find("(?i:") != pattern_.npos) refuse_foldings();
    while (!at_end()) {
      const char c = take();
      switch (c) {
        case '\\': escape(false); break;
        case '[': character_class(); break;
        case '(': group(); break;
        case '{': repetition(); break;
        case '^':
        case '$': refuse(std::string(1, c));  // anchors of lines in Ruby, of the text in PCRE2
        default: break;                       // literals, . | ) * + ?
      }
    }
  }

 private:
  bool at_end() const { return at_ == pattern_.size(); }
  char take() {
    if (at_end()) refuse("the end");
    return pattern_[at_++];
  }
  bool skip(std::string_view text) {
    if (!pattern_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw InputError(
        "split pattern: " + config::in_quotes(what) + " is not supported", where_,
        "supported: the patterns of Qwen3, Llama-3 and GPT-2 and what they consist of");
  }

  // Without case, Oniguruma takes one letter for some pairs: U+00DF for "ss".
  void refuse_foldings() const {
    std::string lower(pattern_);
    for (char& c : lower) {
      if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
      if (uint8_t(c) >= 0x80) refuse("(?i: with letters beyond ASCII");
    }
    for (const char* pair : {"ss", "st", "ff", "fi", "fl"}) {
      if (lower.find(pair) != lower.npos) refuse(std::string("(?i: with ") + pair);
    }
  }
  void escape(bool in_class) {
    const char c = take();
    if (c == 'r' || c == 'n' || c == 't' || c == 's') return;
    if (c == 'S' && !in_class) return;
    if (c == 'p' || (c == 'P' && !in_class)) {
      if (skip("{L}") || skip("{N}")) return;
      refuse("\\" + std::string(1, c) + std::string(pattern_.substr(at_, 8)));
    }
    if (uint8_t(c) < 0x80 && uint8_t(c) > 0x20 && !is_alphanumeric(c)) return;
    refuse("\\" + std::string(1, c));
  }
  void character_class() {
    skip("^");
    bool first = true;
    for (;; first = false) {
      const char c = take();
      if (c == ']') {
        if (first) refuse("[]");
        return;
      }
      if (c == '[') refuse("[ within a class");
      if (c == '&' && skip("&")) refuse("&&");
      if (c == '\\') escape(true);
    }
  }
  void group() {
    if (skip("*")) refuse("(*");
    if (!skip("?")) return;
    for (const char* kind : {":", "i:", "=", "!"}) {
      if (skip(kind)) return;
    }
    refuse("(?" + std::string(pattern_.substr(at_, 3)));
  }
  // {n}, {n,} or {n,m}; what follows would be read differently.
  void repetition() {
    const size_t begin = at_;
    const auto number = [&] {
      const size_t from = at_;
      while (!at_end() && is_digit(pattern_[at_])) ++at_;
      return at_ > from && at_ - from <= 3;
    };
    bool good = number();
    if (good && skip(",") && !at_end() && pattern_[at_] != '}') good = number();
    good = good && skip("}") &&
           (at_end() || std::string_view("?+*{").find(pattern_[at_]) == std::string_view::npos);
    if (!good) refuse("{" + std::string(pattern_.substr(begin, 8)));
  }

  std::string_view pattern_;
  const std::string& where_;
  size_t at_ = 0;
};

struct Range {
  uint32_t first, last;
};

// Letters and numbers that Unicode 15, 15.1 and 16 added; PCRE2 10.42 has the tables of 14.
constexpr Range kLetters[] = {
    {0x1c89, 0x1c8a},   {0xa7cb, 0xa7cd},   {0xa7da, 0xa7dc},   {0x105c0, 0x105f3},
    {0x10d4a, 0x10d65}, {0x10d6f, 0x10d85}, {0x10ec2, 0x10ec4}, {0x1123f, 0x11240},
    {0x11380, 0x11389}, {0x1138b, 0x1138b}, {0x1138e, 0x1138e}, {0x11390, 0x113b5},
    {0x113b7, 0x113b7}, {0x113d1, 0x113d1}, {0x113d3, 0x113d3}, {0x11bc0, 0x11be0},
    {0x11f02, 0x11f02}, {0x11f04, 0x11f10}, {0x11f12, 0x11f33}, {0x1342f, 0x1342f},
    {0x13441, 0x13446}, {0x13460, 0x143fa}, {0x16100, 0x1611d}, {0x16d40, 0x16d6c},
    {0x18cff, 0x18cff}, {0x1b132, 0x1b132}, {0x1b155, 0x1b155}, {0x1df25, 0x1df2a},
    {0x1e030, 0x1e06d}, {0x1e4d0, 0x1e4eb}, {0x1e5d0, 0x1e5ed}, {0x1e5f0, 0x1e5f0},
    {0x2b739, 0x2b739}, {0x2ebf0, 0x2ee5d}, {0x31350, 0x323af},
};
constexpr Range kNumbers[] = {
    {0x10d40, 0x10d49}, {0x116d0, 0x116e3}, {0x11bf0, 0x11bf9}, {0x11f50, 0x11f59},
    {0x16130, 0x16139}, {0x16d70, 0x16d79}, {0x1ccf0, 0x1ccf9}, {0x1d2c0, 0x1d2d3},
    {0x1e4f0, 0x1e4f9}, {0x1e5f1, 0x1e5fa},
};

template <size_t n>
bool contains(const Range (&ranges)[n], uint32_t c) {
  const auto* range = std::ranges::lower_bound(ranges, c, {}, &Range::last);
  return range != std::end(ranges) && c >= range->first;
}

// PCRE2 sees this in the place of the `bytes` (3 or 4) bytes of `c`, or nothing.
std::string_view replacement(uint32_t c, size_t bytes) {
  if (contains(kLetters, c)) return bytes == 3 ? "\uA000" : "\U00020000";
  if (contains(kNumbers, c)) return "\U0001D7CE";
  if (c == 0x180e) return "\u200B";
  return {};
}

}  // namespace

void check_split_syntax(std::string_view pattern, const std::string& where) {
  Checker(pattern, where).check();
}

std::string_view with_known_characters(std::string_view text, std::string& storage) {
  bool changed = false;
  for (size_t at = 0; at < text.size();) {
    const auto lead = uint8_t(text[at]);
    if (lead < 0xe0) {  // ASCII, two bytes (all of them old), or a byte within a character
      ++at;
      continue;
    }
    const size_t bytes = lead < 0xf0 ? 3 : 4;
    // The blocks that have such characters: U+1000, U+A000, and everything above U+FFFF.
    if (lead == 0xe1 || lead == 0xea || bytes == 4) {
      uint32_t c = lead & (bytes == 3 ? 0x0f : 0x07);
      for (size_t k = 1; k < bytes; ++k) c = c << 6 | (uint8_t(text[at + k]) & 0x3f);
      if (const auto other = replacement(c, bytes); !other.empty()) {
        if (!changed) storage.assign(text);
        changed = true;
        storage.replace(at, bytes, other);
      }
    }
    at += bytes;
  }
  return changed ? std::string_view(storage) : text;
}

}  // namespace elastron::data
