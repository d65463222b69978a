// Says which regular expressions are understood, and which characters PCRE2 sees in a text.
#pragma once
#include <string>
#include <string_view>

namespace elastron::data {

// Throws InputError naming `where` unless `pattern` has only constructs that mean the same to
// Oniguruma (Ruby syntax) and to PCRE2 (UTF, UCP); SplitRegex lists them. Returns whether it asks for
// classes of characters, so that a text has to be read with_known_characters.
bool check_split_syntax(std::string_view pattern, const std::string& where);

// The reference's classes are those of Unicode 16; PCRE2's tables may be older, and its \s has
// U+180E too. Returns `text` itself when that makes no difference; otherwise `storage`, a copy in
// which each such character is replaced by one of as many bytes that is in the right class for any
// version. `text` must be UTF-8.
std::string_view with_known_characters(std::string_view text, std::string& storage);

}  // namespace elastron::data
