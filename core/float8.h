// The 8-bit float of published FP8 weights: e4m3 as in Micikevicius et al. 2022 (arXiv 2209.05433),
// the "fn" kind: 4 bits of exponent with bias 7, 3 of mantissa, no infinities, one NaN of each sign.
// The largest is 448, the smallest above zero 2^-9. A storage type: nothing is computed in it.
#pragma once
#include <bit>
#include <cstdint>

namespace elastron {

struct e4m3 {
  uint8_t bits = 0;

  static constexpr float kLargest = 448;

  e4m3() = default;
  static constexpr e4m3 from_bits(uint8_t bits) {
    e4m3 x;
    x.bits = bits;
    return x;
  }
  constexpr operator float() const {
    const uint32_t sign = uint32_t(bits & 0x80u) << 24;
    const uint32_t exponent = (bits >> 3) & 15u, mantissa = bits & 7u;
    if (exponent == 0) {
      const float magnitude = float(mantissa) * 0x1p-9f;
      return sign != 0 ? -magnitude : magnitude;
    }
    if (exponent == 15 && mantissa == 7) return std::bit_cast<float>(sign | 0x7fc00000u);
    return std::bit_cast<float>(sign | (exponent + 120) << 23 | mantissa << 20);
  }
};
static_assert(sizeof(e4m3) == 1);

}  // namespace elastron
