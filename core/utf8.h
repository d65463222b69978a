// UTF-8 as it must be: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once
#include <cstddef>
#include <optional>
#include <string_view>

namespace elastron {

// Offset of the first byte that is not part of well-formed UTF-8 (Unicode 15, table 3-7).
std::optional<size_t> first_invalid_utf8(std::string_view text);

}  // namespace elastron
