#pragma once
#include <cstdint>

namespace elastron {

// How many parts of `b` hold `a`: a / b rounded up, a >= 0 and b > 0.
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace elastron
