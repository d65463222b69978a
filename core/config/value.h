// One configuration value: how it is read from YAML, written back, and described to a person.
#pragma once
#include <array>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/config/names.h"
#include "core/config/node.h"

namespace elastron::config {

// A condition on a value beyond its type. For lists and maps it holds for every element, for
// Auto and optional for the value if there is one.
struct Rule {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;
  bool high_open = false;
  bool filled = false;  // text: not empty
  std::array<std::string_view, 16> choices{};
  size_t choice_count = 0;
};
constexpr Rule at_least(double low) { return {.low = low}; }
constexpr Rule greater_than(double low) { return {.low = low, .low_open = true}; }
constexpr Rule at_most(double high) { return {.high = high}; }
constexpr Rule less_than(double high) { return {.high = high, .high_open = true}; }
constexpr Rule between(double low, double high) { return {.low = low, .high = high}; }
constexpr Rule not_empty() { return {.filled = true}; }
template <std::convertible_to<std::string_view>... Words>
constexpr Rule choice(Words... words) {
  static_assert(sizeof...(Words) <= 16, "a longer list wants an enum");
  return {.choices = {words...}, .choice_count = sizeof...(Words)};
}
constexpr Rule operator&&(const Rule& a, const Rule& b) {
  Rule r = a;
  if (b.low > a.low || (b.low == a.low && b.low_open)) r.low = b.low, r.low_open = b.low_open;
  if (b.high < a.high || (b.high == a.high && b.high_open))
    r.high = b.high, r.high_open = b.high_open;
  r.filled = a.filled || b.filled;
  if (b.choice_count > 0) r.choices = b.choices, r.choice_count = b.choice_count;
  return r;
}

// Why a node is not a valid value. `element` names the part of a list or map ("[2]" or ".qa").
struct Mismatch {
  std::string got, expected, element;
  int line = 0;
};
using Read = std::optional<Mismatch>;  // empty: read

Read read_bool(const Node& node, bool& out);
// Decimal, no leading zeros; an exponent is accepted when the value is exact ("1e3").
Read read_integer(const Node& node, const Rule& rule, int64_t min, int64_t max, int64_t& out);
Read read_number(const Node& node, const Rule& rule, double& out);  // finite
Read read_text(const Node& node, const Rule& rule, std::string& out);
Mismatch mismatch(const Node& node, std::string expected);

std::string write_number(double value);  // shortest text that reads back to the same bits
std::string describe_integer(const Rule& rule);
std::string describe_number(const Rule& rule);
std::string describe_text(const Rule& rule);
std::string describe_words(const std::vector<std::string_view>& words);
// Names of map entries: 1 to 128 bytes without control characters.
bool valid_name(std::string_view name);

template <class T>
concept ConfigInteger = std::signed_integral<T> && !std::same_as<T, bool> && !std::same_as<T, char>;
template <class T>
concept ConfigEnum = std::is_enum_v<T>;

template <class T>
struct Value;  // read, write, describe

template <>
struct Value<bool> {
  static Read read(const Node& n, const Rule&, bool& out) { return read_bool(n, out); }
  static std::string write(bool v) { return v ? "true" : "false"; }
  static std::string describe(const Rule&) { return "true or false"; }
};

template <ConfigInteger T>
struct Value<T> {
  static Read read(const Node& n, const Rule& rule, T& out) {
    int64_t wide = 0;
    const auto bad =
        read_integer(n, rule, std::numeric_limits<T>::min(), std::numeric_limits<T>::max(), wide);
    if (!bad) out = static_cast<T>(wide);
    return bad;
  }
  static std::string write(T v) { return std::to_string(v); }
  static std::string describe(const Rule& rule) { return describe_integer(rule); }
};

template <>
struct Value<double> {
  static Read read(const Node& n, const Rule& rule, double& out) {
    return read_number(n, rule, out);
  }
  static std::string write(double v) { return write_number(v); }
  static std::string describe(const Rule& rule) { return describe_number(rule); }
};

template <>
struct Value<std::string> {
  static Read read(const Node& n, const Rule& rule, std::string& out) {
    return read_text(n, rule, out);
  }
  static std::string write(const std::string& v) { return yaml_text(v); }
  static std::string describe(const Rule& rule) { return describe_text(rule); }
};

template <ConfigEnum E>
struct Value<E> {
  static Read read(const Node& n, const Rule& rule, E& out) {
    for (const auto& entry : EnumNames<E>::names) {
      if (n.kind == Node::Kind::scalar && n.text == entry.name) {
        out = entry.value;
        return {};
      }
    }
    return mismatch(n, describe(rule));
  }
  static std::string write(E v) { return yaml_text(enum_name(v)); }
  static std::string describe(const Rule&) {
    std::vector<std::string_view> words;
    for (const auto& entry : EnumNames<E>::names) words.push_back(entry.name);
    return describe_words(words);
  }
};

// A word that stands for "no value": `auto` or `none`.
template <class T, class Holder>
Read read_or_word(const Node& n, const Rule& rule, std::string_view word, Holder& out) {
  if (n.plain(word)) {
    out.reset();
    return {};
  }
  T value{};
  auto bad = Value<T>::read(n, rule, value);
  if (!bad) {
    out = std::move(value);
  } else {
    bad->expected = std::string(word) + " or " + bad->expected;
  }
  return bad;
}

template <class T>
struct Value<std::optional<T>> {
  static Read read(const Node& n, const Rule& rule, std::optional<T>& out) {
    return read_or_word<T>(n, rule, "none", out);
  }
  static std::string write(const std::optional<T>& v) { return v ? Value<T>::write(*v) : "none"; }
  static std::string describe(const Rule& rule) { return "none or " + Value<T>::describe(rule); }
};

template <class T>
struct Value<Auto<T>> {
  static Read read(const Node& n, const Rule& rule, Auto<T>& out) {
    return read_or_word<T>(n, rule, "auto", out.value);
  }
  static std::string write(const Auto<T>& v) {
    return v.value ? Value<T>::write(*v.value) : "auto";
  }
  static std::string describe(const Rule& rule) { return "auto or " + Value<T>::describe(rule); }
};

template <class T>
struct Value<std::vector<T>> {
  static_assert(!std::same_as<T, bool>, "std::vector<bool> has no references");
  static Read read(const Node& n, const Rule& rule, std::vector<T>& out) {
    if (n.kind != Node::Kind::sequence) return mismatch(n, describe(rule));
    std::vector<T> values(n.items.size());
    for (size_t i = 0; i < values.size(); ++i) {
      if (auto bad = Value<T>::read(n.items[i], rule, values[i])) {
        bad->element = "[" + std::to_string(i) + "]" + bad->element;
        return bad;
      }
    }
    out = std::move(values);
    return {};
  }
  static std::string write(const std::vector<T>& v) {
    std::string text;
    for (const T& item : v) text += (text.empty() ? "" : ", ") + Value<T>::write(item);
    return "[" + text + "]";
  }
  static std::string describe(const Rule& rule) {
    return "a list, each item " + Value<T>::describe(rule);
  }
};

template <class T>
struct Value<std::map<std::string, T>> {
  using Map = std::map<std::string, T>;
  static Read read(const Node& n, const Rule& rule, Map& out) {
    if (n.kind != Node::Kind::map) return mismatch(n, describe(rule));
    Map values;
    for (const auto& [name, node] : n.entries) {
      if (auto bad = read_entry(name, node, rule, values)) return bad;
    }
    out = std::move(values);
    return {};
  }
  static Read read_entry(const std::string& name, const Node& n, const Rule& rule, Map& out) {
    if (!valid_name(name)) return Mismatch{in_quotes(name), "a short printable name", "", n.line};
    T value{};
    if (auto bad = Value<T>::read(n, rule, value)) {
      bad->element = "." + name + bad->element;
      return bad;
    }
    out[name] = std::move(value);
    return {};
  }
  static std::string write(const Map& v) {
    std::string text;
    for (const auto& [name, value] : v) {
      text += (text.empty() ? "" : ", ") + yaml_text(name) + ": " + Value<T>::write(value);
    }
    return "{" + text + "}";
  }
  static std::string describe(const Rule& rule) {
    return "a map of names, each value " + Value<T>::describe(rule);
  }
};

template <class T>
inline constexpr bool is_map_v = false;
template <class T>
inline constexpr bool is_map_v<std::map<std::string, T>> = true;

}  // namespace elastron::config
