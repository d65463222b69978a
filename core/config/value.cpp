#include "core/config/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <span>

#include "core/error.h"

namespace elastron::config {
namespace {

// The parts of a decimal number as written; digits only.
struct Decimal {
  bool negative = false;
  std::string_view whole, fraction;
  bool has_exponent = false;
  int exponent = 0;  // within +-9999
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view take_digits(std::string_view& text) {
  const size_t n = size_t(std::ranges::find_if_not(text, is_digit) - text.begin());
  const std::string_view digits = text.substr(0, n);
  text.remove_prefix(n);
  return digits;
}

// [+-] digits [. digits] [e [+-] digits], no leading zeros.
std::optional<Decimal> parse_decimal(std::string_view text) {
  Decimal d;
  if (text.starts_with('-') || text.starts_with('+')) {
    d.negative = text[0] == '-';
    text.remove_prefix(1);
  }
  d.whole = take_digits(text);
  if (d.whole.size() > 1 && d.whole[0] == '0') return {};
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    d.fraction = take_digits(text);
  }
  if (d.whole.empty() && d.fraction.empty()) return {};
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    bool negative = false;
    if (text.starts_with('-') || text.starts_with('+')) {
      negative = text[0] == '-';
      text.remove_prefix(1);
    }
    const std::string_view digits = take_digits(text);
    if (digits.empty() || digits.size() > 4) return {};
    for (const char c : digits) d.exponent = d.exponent * 10 + (c - '0');
    if (negative) d.exponent = -d.exponent;
    d.has_exponent = true;
  }
  if (!text.empty()) return {};
  return d;
}

// Empty when the number is not an integer or does not fit.
std::optional<int64_t> exact_integer(const Decimal& d) {
  if (!d.has_exponent && !d.fraction.empty()) return {};
  std::string digits = std::string(d.whole) + std::string(d.fraction);
  int64_t zeros = int64_t(d.exponent) - int64_t(d.fraction.size());
  while (zeros < 0 && !digits.empty() && digits.back() == '0') {
    digits.pop_back();
    ++zeros;
  }
  if (digits.find_first_not_of('0') == std::string::npos) return 0;
  if (zeros < 0) return {};
  int64_t value = 0;
  // Negative throughout, so that the least integer fits.
  const auto append = [&value](int digit) {
    return !__builtin_mul_overflow(value, int64_t(10), &value) &&
           !__builtin_sub_overflow(value, int64_t(digit), &value);
  };
  for (const char c : digits) {
    if (!append(c - '0')) return {};
  }
  for (; zeros > 0; --zeros) {
    if (!append(0)) return {};
  }
  if (!d.negative && __builtin_sub_overflow(int64_t(0), value, &value)) return {};
  return value;
}

template <class T>
bool within(const Rule& rule, T value) {
  const auto v = static_cast<long double>(value);  // holds every int64 exactly
  if (rule.low_open ? v <= rule.low : v < rule.low) return false;
  return rule.high_open ? v < rule.high : v <= rule.high;
}

std::string bounds(const Rule& rule) {
  std::string text;
  if (std::isfinite(rule.low)) text += fmt::format(" {} {}", rule.low_open ? ">" : ">=", rule.low);
  if (std::isfinite(rule.high)) {
    text +=
        fmt::format("{} {} {}", text.empty() ? "" : " and", rule.high_open ? "<" : "<=", rule.high);
  }
  return text;
}

}  // namespace

Mismatch mismatch(const Node& node, std::string expected) {
  std::string got;
  switch (node.kind) {
    case Node::Kind::null: got = "empty"; break;
    case Node::Kind::sequence: got = "a list"; break;
    case Node::Kind::map: got = "a map"; break;
    case Node::Kind::scalar:
      got = node.quoted ? "the quoted text " + in_quotes(node.text) : in_quotes(node.text);
      break;
  }
  return {std::move(got), std::move(expected), "", node.line};
}

Read read_bool(const Node& node, bool& out) {
  if (!node.plain("true") && !node.plain("false")) return mismatch(node, "true or false");
  out = node.plain("true");
  return {};
}

Read read_integer(const Node& node, const Rule& rule, int64_t min, int64_t max, int64_t& out) {
  if (node.kind != Node::Kind::scalar || node.quoted) return mismatch(node, describe_integer(rule));
  const auto decimal = parse_decimal(node.text);
  const auto value = decimal ? exact_integer(*decimal) : std::nullopt;
  if (!value || !within(rule, *value)) {
    return mismatch(node, describe_integer(rule));
  }
  if (*value < min || *value > max) {
    return mismatch(node, fmt::format("an integer >= {} and <= {}", min, max));
  }
  out = *value;
  return {};
}

Read read_number(const Node& node, const Rule& rule, double& out) {
  if (node.kind != Node::Kind::scalar || node.quoted || !parse_decimal(node.text)) {
    return mismatch(node, describe_number(rule));
  }
  std::string_view text = node.text;
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  // Too large, or so small that nothing is left of it.
  if (result.ec != std::errc{} || !std::isfinite(value)) {
    return mismatch(node, describe_number(rule) + " that a 64-bit float can hold");
  }
  if (!within(rule, value)) return mismatch(node, describe_number(rule));
  out = value;
  return {};
}

Read read_text(const Node& node, const Rule& rule, std::string& out) {
  const auto choices = std::span(rule.choices).first(rule.choice_count);
  if (node.kind != Node::Kind::scalar || (rule.filled && node.text.empty()) ||
      (!choices.empty() && std::ranges::find(choices, node.text) == choices.end())) {
    return mismatch(node, describe_text(rule));
  }
  out = node.text;
  return {};
}

std::string write_number(double value) {
  ELASTRON_CHECK(std::isfinite(value), "a configuration value is not finite");
  return fmt::format("{}", value);
}

std::string describe_integer(const Rule& rule) { return "an integer" + bounds(rule); }

std::string describe_number(const Rule& rule) { return "a number" + bounds(rule); }

std::string describe_text(const Rule& rule) {
  if (rule.choice_count > 0) {
    return describe_words({rule.choices.begin(), rule.choices.begin() + rule.choice_count});
  }
  return rule.filled ? "text, not empty" : "text";
}

std::string describe_words(const std::vector<std::string_view>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += words[i];
  }
  return text;
}

bool valid_name(std::string_view name) {
  return !name.empty() && name.size() <= 128 &&
         std::ranges::none_of(name, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

}  // namespace elastron::config
