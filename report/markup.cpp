#include "report/markup.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "core/utf8.h"

namespace elastron::report {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
// Whether a byte goes on with a character of several.
bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

size_t characters(std::string_view text) {
  size_t n = 0;
  for (const char c : text) n += !continues(c);
  return n;
}

// Takes a number off the front: its digits without leading zeros.
std::string_view take_number(std::string_view& text) {
  size_t end = 0;
  while (end < text.size() && is_digit(text[end])) ++end;
  std::string_view digits = text.substr(0, end);
  text.remove_prefix(end);
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
  return digits;
}

// In the form of an address, but for letters, digits and `plain`.
std::string encoded(std::string_view text, std::string_view plain) {
  std::string out;
  for (const char c : text) {
    const bool kept =
        std::isalnum(static_cast<unsigned char>(c)) != 0 || plain.find(c) != std::string_view::npos;
    out += kept ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string storage, out;
  for (const char c : replace_invalid_utf8(text, storage)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\n':
      case '\t': out += c; break;
      default: out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
    }
  }
  return out;
}

std::string exact(double value) { return std::isfinite(value) ? fmt::format("{}", value) : ""; }

std::string rounded(double value) {
  if (!std::isfinite(value)) return "–";
  const double size = std::abs(value);
  if (size == 0) return "0";
  if (size < 1e-4 || size >= 1e7) return fmt::format("{:.3g}", value);
  if (size >= 1000) return fmt::format("{:.0f}", value);
  std::string text = fmt::format("{:.4g}", value);
  // 1000, rounded up from below, has an exponent in some forms only; 0.00012 none.
  if (text.find('e') != text.npos) text = fmt::format("{:.4f}", value);
  return text;
}

std::string percent_encoded(std::string_view text) { return encoded(text, "-_.,:;()"); }
std::string percent_encoded_path(std::string_view path) { return encoded(path, "-_./"); }

std::string shortened(std::string_view text, size_t most) {
  std::string storage;
  text = replace_invalid_utf8(text, storage);
  if (characters(text) <= most || most < 3) return std::string(text);
  const size_t ends = most - 1, front = ends / 2;
  size_t first = 0, last = text.size(), n = 0;
  for (; first < text.size(); ++first) {
    if (!continues(text[first]) && n++ == front) break;
  }
  for (n = 0; n < ends - front; ++n) {
    do --last;
    while (continues(text[last]));
  }
  return std::string(text.substr(0, first)) + "…" + std::string(text.substr(last));
}

std::string shell_word(std::string_view text) {
  const bool plain = !text.empty() && std::ranges::all_of(text, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("-_./=:,+@%").find(c) != std::string_view::npos;
  });
  if (plain) return std::string(text);
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

bool natural_less(std::string_view a, std::string_view b) {
  while (!a.empty() && !b.empty()) {
    if (is_digit(a[0]) && is_digit(b[0])) {
      const std::string_view x = take_number(a), y = take_number(b);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
      continue;
    }
    if (a[0] != b[0]) return a[0] < b[0];
    a.remove_prefix(1);
    b.remove_prefix(1);
  }
  return a.size() < b.size();
}

}  // namespace elastron::report
