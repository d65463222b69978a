// The textual form of a Python dict, as str() writes it.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace elastron::data {

// Dicts with string keys, lists, tuples, strings, numbers, True, False, None. Throws InputError
// naming `where` and the byte for anything else, a duplicate key, or nesting deeper than 16.
nlohmann::json parse_python_literal(std::string_view text, const std::string& where);

}  // namespace elastron::data
