// Prompt templates in the form of Python's str.format.
#pragma once
#include <map>
#include <string>
#include <string_view>

namespace elastron::benchmark {

// {name} becomes the field's text, {{ and }} become braces. Throws InputError naming `where` for a
// name that has no field, a lone brace, and what else str.format knows (positions, attributes,
// conversions, formats).
std::string python_format(std::string_view pattern,
                          const std::map<std::string, std::string_view>& fields,
                          const std::string& where);

}  // namespace elastron::benchmark
