// White space at the ends of text, as Python's str.strip knows it.
#pragma once
#include <string_view>

namespace elastron::data {

// Unicode White_Space and the information separators U+001C to U+001F. Views into `text`, which
// must be UTF-8.
std::string_view without_leading_space(std::string_view text);
std::string_view without_trailing_space(std::string_view text);

}  // namespace elastron::data
