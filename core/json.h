// JSON from files that are not ours: nothing is accepted by accident.
#pragma once
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace elastron {

struct JsonLimits {
  size_t max_bytes = size_t(64) << 20;
  int max_depth = 64;  // nested arrays and objects
};

// Throws InputError naming `where` and line:column (line 1 only: column is the byte) when the text
// is not JSON (RFC 8259, UTF-8), has an object with a duplicate key, a number that is not finite,
// text after the value, or is over the limits. Memory stays linear in the text: the depth is
// checked while parsing, before anything is built.
nlohmann::json parse_json_strict(std::string_view text, const std::string& where,
                                 JsonLimits limits = {});

}  // namespace elastron
