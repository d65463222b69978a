// The 8-bit float of FP8 weights: e4m3 as in Micikevicius et al. 2022 (arXiv 2209.05433), the "fn"
// kind: 4 bits of exponent with bias 7, 3 of mantissa, no infinities, one NaN of each sign. The
// largest is 448, the smallest above zero 2^-9. A storage type: nothing is computed in it.
#pragma once
#include <bit>
#include <cstdint>

#include "core/dtype.h"

namespace elastron {

struct e4m3 {
  uint8_t bits = 0;

  static constexpr float kLargest = 448;

  e4m3() = default;
  // To nearest, ties to even; what lies beyond the largest becomes the largest, NaN stays NaN.
  explicit constexpr e4m3(float x) {
    const uint32_t u = std::bit_cast<uint32_t>(x);
    const uint32_t magnitude = u & 0x7fffffffu, sign = u >> 24 & 0x80u;
    // Below 2^-6 the steps are 2^-9: the last bits of a sum with 2^14, which is rounded as sums are.
    // Both ways are taken, so that loops need no branch.
    constexpr uint32_t kSum = 0x46800000u;  // 2^14
    const uint32_t small =
        std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0x1p14f) - kSum;
    const uint32_t moved = magnitude + 0x7ffffu + (magnitude >> 20 & 1u) - (120u << 23);
    const uint32_t large = moved >> 20 < 0x7eu ? moved >> 20 : 0x7eu;
    const uint32_t finite = magnitude < 0x3c800000u ? small : large;
    bits = uint8_t(sign | (magnitude > 0x7f800000u ? 0x7fu : finite));
  }
  static constexpr e4m3 from_bits(uint8_t bits) {
    e4m3 x;
    x.bits = bits;
    return x;
  }
  ELASTRON_HD constexpr operator float() const {
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

template <>
struct DTypeOf<e4m3> {
  static constexpr DType value = DType::e4m3;
};

}  // namespace elastron
