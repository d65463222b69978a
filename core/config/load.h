// Reading and writing a configuration struct. What its keys are stands in a table (schema.h), in
// one .cpp beside the struct: whoever includes the struct's header compiles no table.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/table.h"

namespace elastron::config {

// The table refers to `object`, which must outlive it. Defined in schema.h; headers of
// configurations declare theirs: extern template Table table_of(RouterConfig&).
template <class T>
Table table_of(T& object);

// Defaults, then `files` left to right, then `overrides` ("a.b=value") in order. Throws one
// UsageError with a line for everything that is wrong.
template <class T>
T load_config(std::span<const std::string> files, std::span<const std::string> overrides,
              Origins* origins = nullptr) {
  T config{};
  load_into(table_of(config), files, overrides, origins);
  return config;
}

// Defaults, then `text`. `source` names it in messages.
template <class T>
T parse_config(std::string_view text, const std::string& source, Origins* origins = nullptr) {
  T config{};
  parse_into(table_of(config), text, source, origins);
  return config;
}

// All values as YAML; parse_config reads exactly the same configuration from it. With `origins`,
// each line ends in a comment that says where its value came from.
template <class T>
std::string dump_config(const T& config, const Origins* origins = nullptr) {
  T copy = config;
  return write_values(table_of(copy), origins);
}

// Every key with its documentation, type, range and default: configs/reference.yaml.
template <class T>
std::string reference_config() {
  T defaults{};
  return write_reference(table_of(defaults));
}

// The keys whose values differ, in the order of the table.
template <class T>
std::vector<Difference> config_differences(const T& before, const T& after) {
  T a = before;
  T b = after;
  return compare(table_of(a), table_of(b));
}

}  // namespace elastron::config
