// UTF-8 as it must be: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace elastron {

// Offset of the first byte that is not part of well-formed UTF-8 (Unicode 15, table 3-7).
std::optional<size_t> first_invalid_utf8(std::string_view text);

// `text` itself when it is well-formed; otherwise `storage`, filled with a copy in which each
// maximal part of an ill-formed sequence is one U+FFFD (as Python decodes with errors="replace").
std::string_view replace_invalid_utf8(std::string_view text, std::string& storage);

// A code point up to U+10FFFF; surrogates too, which are then not well-formed.
std::string in_utf8(uint32_t code_point);

}  // namespace elastron
