// model.rope_scaling of a configuration: the rope scaling that counts in the place of a folder's.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <variant>

#include "core/config/value.h"

namespace elastron::model {

struct RopeOverride {
  using Scalar = std::variant<bool, double, std::string>;
  using Keys = std::map<std::string, Scalar>;

  // Those of config.json's rope_scaling. Nothing: the folder's scaling counts; empty: none does.
  std::optional<Keys> keys;

  // For those who want a folder's shapes and no positions.
  static RopeOverride none() { return {.keys = Keys{}}; }
  bool operator==(const RopeOverride&) const = default;
};

// As a configuration writes it: auto, none, or a map on one line.
std::string rope_override_text(const RopeOverride& rope);
// Throws InputError at `where` for another text; what the keys say is not looked at.
RopeOverride parse_rope_override(const std::string& text, const std::string& where);

}  // namespace elastron::model

namespace elastron::config {

template <>
struct Value<model::RopeOverride> {
  static Read read(const Node& n, const Rule& rule, model::RopeOverride& out);
  static Read read_entry(const std::string& name, const Node& n, const Rule& rule,
                         model::RopeOverride& out);
  static std::string write(const model::RopeOverride& v);
  static std::string describe(const Rule& rule);
};
template <>
inline constexpr bool is_map_v<model::RopeOverride> = true;

}  // namespace elastron::config
