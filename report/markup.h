// Text from files and numbers as parts of a page: what neither breaks its markup nor loses a digit.
#pragma once
#include <string>
#include <string_view>

namespace elastron::report {

// For an element's text and for a value in double quotes, of HTML and of SVG: markup escaped, bytes
// that are not UTF-8 replaced by U+FFFD, control characters by '?'. Newlines and tabs stay.
std::string escaped(std::string_view text);

// A number that reads back as the same one; "" for one that is not finite.
std::string exact(double value);
// With as many digits as people compare: four significant ones, thousands whole, without an
// exponent between 1e-4 and 1e7.
std::string rounded(double value);

// The part of a `data:` address after the comma.
std::string percent_encoded(std::string_view text);

// A path as a link's target: what is no letter, digit, '-', '_', '.' or '/' encoded.
std::string percent_encoded_path(std::string_view path);

// At most `most` characters, the middle of a longer text replaced by an ellipsis.
std::string shortened(std::string_view text, size_t most);

// A word of a command line, in quotes where the shell would take it apart.
std::string shell_word(std::string_view text);

// "10" behind "9", as people sort names with numbers in them.
bool natural_less(std::string_view a, std::string_view b);

}  // namespace elastron::report
