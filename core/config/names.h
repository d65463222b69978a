// Members of a configuration's structs that are more than plain types: words of enumerations,
// and values that may be left to the program.
#pragma once
#include <optional>
#include <string_view>

namespace elastron::config {

// `auto` (value is empty) or a value.
template <class T>
struct Auto {
  std::optional<T> value;

  bool is_auto() const { return !value; }
  T value_or(T automatic) const { return value ? *value : automatic; }
  bool operator==(const Auto&) const = default;
};

// The words of an enumeration. Specialise:
//   template <> struct EnumNames<Rule> {
//     static constexpr NameOf<Rule> names[] = {{Rule::warn, "warn"}, {Rule::error, "error"}}; };
template <class E>
struct NameOf {
  E value;
  std::string_view name;
};
template <class E>
struct EnumNames;

template <class E>
constexpr std::string_view enum_name(E value) {
  for (const auto& entry : EnumNames<E>::names) {
    if (entry.value == value) return entry.name;
  }
  return "?";
}

}  // namespace elastron::config
