#include "data/tokenizer/split_syntax.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/config/problems.h"
#include "core/error.h"
#include "data/tokenizer/character_tables.h"

namespace elastron::data {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
// The categories that character_tables.h knows, and their parts.
constexpr std::string_view kProperties[] = {"{L}",  "{M}",  "{N}",  "{P}",  "{S}",  "{Lu}", "{Ll}",
                                            "{Lt}", "{Lm}", "{Lo}", "{Mn}", "{Mc}", "{Me}", "{Nd}",
                                            "{Nl}", "{No}", "{Pc}", "{Pd}", "{Ps}", "{Pe}", "{Pi}",
                                            "{Pf}", "{Po}", "{Sm}", "{Sc}", "{Sk}", "{So}"};
// To PCRE2 these are all cased letters in (?i:.
bool is_cased(std::string_view property) {
  return property == "{Lu}" || property == "{Ll}" || property == "{Lt}";
}
bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

class Checker {
 public:
  Checker(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  // Returns whether the pattern asks for classes of characters.
  bool check() {
    if (pattern_.find("(?i:") != pattern_.npos) refuse_foldings();
    while (!at_end()) {
      const char c = take();
      switch (c) {
        case '\\': escape(false); break;
        case '[': character_class(); break;
        case '(': group(); break;
        case ')':
          if (!folding_.empty()) folding_.pop_back();
          break;
        case '{': repetition(); break;
        case '^':
        case '$': refuse(std::string(1, c));  // anchors of lines in Ruby, of the text in PCRE2
        default: literal(c);                  // . | * + ? too
      }
    }
    if (classes_) refuse_involved();
    return classes_;
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
    throw InputError("split pattern: " + config::in_quotes(what) + " is not supported", where_,
                     "supported: what the patterns of Qwen, Llama, Mistral and GPT consist of");
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
    if (c == 'r' || c == 'n' || c == 't') return;
    classes_ = classes_ || c == 's' || c == 'S' || c == 'p' || c == 'P';
    if (c == 's' || (c == 'S' && !in_class)) return;
    if (c == 'p' || (c == 'P' && !in_class)) return property(c);
    if (uint8_t(c) < 0x80 && uint8_t(c) > 0x20 && !is_alphanumeric(c)) return;
    refuse("\\" + std::string(1, c));
  }
  void property(char letter) {
    for (const std::string_view name : kProperties) {
      if (!skip(name)) continue;
      if (is_cased(name) && !folding_.empty() && folding_.back()) {
        refuse("\\p" + std::string(name) + " within (?i:");
      }
      return;
    }
    refuse("\\" + std::string(1, letter) + std::string(pattern_.substr(at_, 8)));
  }
  // A character of the pattern that stands for itself; of a class it may begin a range.
  uint32_t literal(char first) {
    const auto lead = uint8_t(first);
    const size_t more = lead < 0xc0 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    if (pattern_.size() - at_ < more) refuse("the end");
    const uint32_t c = code_point(pattern_.substr(at_ - 1, 1 + more));
    at_ += more;
    literals_.push_back({c, c});
    return c;
  }
  void class_literal(char first) {
    const uint32_t from = literal(first);
    if (at_ + 1 >= pattern_.size() || pattern_[at_] != '-') return;
    if (pattern_[at_ + 1] == ']' || pattern_[at_ + 1] == '\\' || pattern_[at_ + 1] == '[') return;
    take();
    literals_.push_back({from, literal(take())});
  }
  // PCRE2 does not see these as they are.
  void refuse_involved() const {
    for (const CharacterRange& in_pattern : literals_) {
      for (const CharacterRange& involved : involved_characters()) {
        if (in_pattern.first <= involved.last && involved.first <= in_pattern.last) {
          refuse("a range of characters of recent Unicode versions");
        }
      }
    }
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
      if (c == '\\') {
        escape(true);
      } else {
        class_literal(c);
      }
    }
  }
  void group() {
    if (skip("*")) refuse("(*");
    folding_.push_back(!folding_.empty() && folding_.back());
    if (!skip("?")) return;
    if (skip("i:")) {
      folding_.back() = true;
      return;
    }
    for (const char* kind : {":", "=", "!"}) {
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
  bool classes_ = false;
  std::vector<bool> folding_;  // of the groups that are open: without case
  std::vector<CharacterRange> literals_;
};

}  // namespace

bool check_split_syntax(std::string_view pattern, const std::string& where) {
  return Checker(pattern, where).check();
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
    const auto other = known_character(code_point(text.substr(at, bytes)));
    if (!other.empty()) {
      if (!changed) storage.assign(text);
      changed = true;
      storage.replace(at, bytes, other);
    }
    at += bytes;
  }
  return changed ? std::string_view(storage) : text;
}

}  // namespace elastron::data
