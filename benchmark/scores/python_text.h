// Text as Python 3 sees it, where published scores depend on that: code points, letter case, words
// and digits by Unicode. All text is UTF-8 and was checked where it was read. Characters are those
// of the Unicode that utf8proc has (15.0 on Debian 12: Python 3.12).
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace elastron::benchmark {

std::u32string code_points(std::string_view text);

// str.lower(): the full mapping, with the final form of sigma at the end of a word.
std::string lower(std::string_view text);

// str.strip().
std::string_view stripped(std::string_view text);
// str.lstrip('\n').
std::string_view without_leading_newlines(std::string_view text);
// The text up to its first newline: text.split('\n')[0].
std::string_view first_line(std::string_view text);
// text.split(separator) for one character of ASCII: at least one piece, and empty ones too.
std::vector<std::string_view> split_at(std::string_view text, char separator);

// re.findall(r"\d+", text): runs of decimal digits (category Nd) of any script.
std::vector<std::string_view> digit_runs(std::string_view text);
// The first match of `before` followed by decimal digits, those digits; empty: there is none.
// re.findall(before + r"(\d+)", text)[0].
std::string_view digits_after(std::string_view before, std::string_view text);

// re.sub(r"\b(word|...)\b", " ", text): each run of \w (str.isalnum or an underscore) that is one
// of the words becomes a blank.
std::string without_words(std::string_view text, const std::vector<std::string_view>& words);

// text[:count], in characters.
std::string_view first_characters(std::string_view text, size_t count);

}  // namespace elastron::benchmark
