#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace elastron {

// A count with its noun, for messages: "1 row", "2 rows". `many`: the plural that is not `one` and
// an s ("0 entries").
std::string plural(int64_t n, std::string_view one, std::string_view many = {});

}  // namespace elastron
