// Elementary functions that GCC vectorises inside `omp simd` loops: no branches, no calls.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace elastron::ops::detail {

// e^x for float, within 2 ulp of the correctly rounded value over the whole range (tested against
// the double function). Below -87.34 the result is 0 (denormals are not produced), above 88.72 it is
// +inf; NaN stays NaN.
inline float fast_exp(float x) {
  // x = n ln 2 + r, |r| <= ln 2 / 2; e^r by a degree-6 minimax-like polynomial (Cephes expf).
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f;
  const float clamped = x < -88.0f ? -88.0f : (x > 89.0f ? 89.0f : x);
  // Round to nearest through the mantissa's own rounding.
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  const float shifted = clamped * kLog2E + kMagic;
  const float n = shifted - kMagic;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n in two factors, so that n = 128 does not overflow the exponent field before its time.
  const int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kMagic);
  const int32_t half = exponent >> 1;
  const float scale1 = std::bit_cast<float>((half + 127) << 23);
  const float scale2 = std::bit_cast<float>((exponent - half + 127) << 23);
  const float y = p * scale1 * scale2;
  const float flushed = x < -87.336544f ? 0.0f : y;
  return x != x ? x : flushed;
}
inline double fast_exp(double x) { return std::exp(x); }

// 1 / (1 + e^-x)
template <class A> inline A sigmoid(A x) { return A(1) / (A(1) + fast_exp(-x)); }

}  // namespace elastron::ops::detail
