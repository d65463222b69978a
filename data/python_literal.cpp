#include "data/python_literal.h"

#include <charconv>
#include <cmath>

#include "core/error.h"
#include "core/utf8.h"

namespace elastron::data {

namespace {

using nlohmann::json;

constexpr int kMaxDepth = 16;

class LiteralParser {
 public:
  LiteralParser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  json parse() {
    json value = any(1);
    if (peek() != '\0' || at_ != text_.size()) fail("text after the value");
    return value;
  }

 private:
  json any(int depth) {
    if (depth > kMaxDepth) fail("nested too deeply");
    switch (peek()) {
      case '{': return dict(depth);
      case '[': return list(depth, ']');
      case '(': return list(depth, ')');
      case '\'':
      case '"': return string();
      default: break;
    }
    if (take("True")) return true;
    if (take("False")) return false;
    if (take("None")) return nullptr;
    return number();
  }

  json dict(int depth) {
    json object = json::object();
    ++at_;
    while (peek() != '}') {
      if (peek() != '\'' && peek() != '"') fail("a key is not a string");
      const std::string key = string();
      if (object.contains(key)) fail("a key appears twice");
      if (!take(":")) fail("':' is missing");
      object[key] = any(depth + 1);
      if (!take(",") && peek() != '}') fail("',' or '}' is missing");
    }
    ++at_;
    return object;
  }

  json list(int depth, char close) {
    json array = json::array();
    ++at_;
    while (peek() != close) {
      array.push_back(any(depth + 1));
      if (!take(",") && peek() != close) fail("',' or the closing bracket is missing");
    }
    ++at_;
    return array;
  }

  std::string string() {
    const char quote = text_[at_++];
    std::string out;
    while (true) {
      if (at_ >= text_.size()) fail("a string does not end");
      const char c = text_[at_++];
      if (c == quote) return out;
      out += c == '\\' ? escape() : std::string(1, c);
    }
  }

  // repr() of a str can hold these. UTF-8 stands for itself, so \x, \u and \U are rare: those of
  // unprintable characters.
  std::string escape() {
    if (at_ >= text_.size()) fail("a string does not end");
    switch (const char c = text_[at_++]) {
      case 'n': return "\n";
      case 't': return "\t";
      case 'r': return "\r";
      case '\\':
      case '\'':
      case '"': return std::string(1, c);
      case 'x': return code_point(2);
      case 'u': return code_point(4);
      case 'U': return code_point(8);
      default: fail("an escape that is not known");
    }
  }

  std::string code_point(size_t digits) {
    uint32_t c = 0;
    const char* begin = text_.data() + at_;
    const char* end = begin + std::min(digits, text_.size() - at_);
    const auto [stop, error] = std::from_chars(begin, end, c, 16);
    if (error != std::errc() || stop != begin + digits || c > 0x10ffff ||
        (c >= 0xd800 && c <= 0xdfff)) {
      fail("an escape that is not a character");
    }
    at_ += digits;
    return in_utf8(c);
  }

  json number() {
    const char* begin = text_.data() + at_;
    const char* end = text_.data() + text_.size();
    int64_t integer = 0;
    const auto whole = std::from_chars(begin, end, integer);
    double real = 0;
    const auto decimal = std::from_chars(begin, end, real);
    if (decimal.ec != std::errc() || !std::isfinite(real)) fail("a value that is not known");
    at_ += size_t(decimal.ptr - begin);
    if (whole.ec == std::errc() && whole.ptr == decimal.ptr) return integer;
    return real;
  }

  // The next character that is not a space; NUL at the end.
  char peek() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != text_.npos) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(std::string_view token) {
    peek();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw InputError("not a Python literal: " + what, where_ + ", byte " + std::to_string(at_ + 1),
                     "write it as a JSON object");
  }

  std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
};

}  // namespace

json parse_python_literal(std::string_view text, const std::string& where) {
  return LiteralParser(text, where).parse();
}

}  // namespace elastron::data
