// How text is cut before a model sees it.
#pragma once
#include <string_view>
#include <vector>

namespace elastron::data {

// Whether `character`, one code point in UTF-8, is Unicode White_Space.
bool is_white_space(std::string_view character);

// Pieces between Unicode White_Space ("WhitespaceSplit"). Views into `text`, which must be UTF-8.
std::vector<std::string_view> split_whitespace(std::string_view text);

// Matches of \w+|[^\w\s]+ ("Whitespace"), with \w as UTS 18 and the reference's regex library have
// it: Alphabetic, Mark, Decimal_Number, Connector_Punctuation, Join_Control.
std::vector<std::string_view> split_words(std::string_view text);

}  // namespace elastron::data
