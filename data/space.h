// White space in text, as Python's str.strip and str.split know it.
#pragma once
#include <string_view>
#include <vector>

namespace elastron::data {

// Unicode White_Space and the information separators U+001C to U+001F. Views into `text`, which
// must be UTF-8.
std::string_view without_leading_space(std::string_view text);
std::string_view without_trailing_space(std::string_view text);
// The pieces between white space, none of them empty: str.split().
std::vector<std::string_view> split_at_space(std::string_view text);

}  // namespace elastron::data
