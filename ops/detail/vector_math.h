// Elementary functions that GCC vectorises inside `omp simd` loops: no branches, no calls.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/dtype.h"
#include "core/host_device.h"

namespace elastron::ops::detail {

// e^x for float, within 1.5 ulp of the exact value over the whole range (tested against the double
// function). Below -87.34 the result is 0 (denormals are not produced), above 88.72 it is +inf; NaN
// stays NaN.
ELASTRON_HD inline float fast_exp(float x) {
  // x = n ln 2 + r, |r| <= ln 2 / 2; e^r by a degree-6 polynomial (Cephes, expf).
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kLeast = -87.3365402f, kMost = 88.7228317f;
  // Rounds to nearest through the mantissa's own rounding; the low bits are n.
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  const float shifted = x * kLog2E + kMagic;
  const float n = shifted - kMagic;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n by adding n to the exponent field. Within the limits p 2^n is a normal number, also where
  // n = 128, as p < 1 there; outside of them the bits mean nothing and are replaced.
  const float y =
      std::bit_cast<float>(std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(shifted) << 23));
  const float bounded = x <= kMost ? y : x * std::numeric_limits<float>::infinity();
  return x < kLeast ? 0.0f : bounded;
}
ELASTRON_HD inline double fast_exp(double x) { return std::exp(x); }

// 1 / (1 + e^-x)
template <class A>
ELASTRON_HD inline A sigmoid(A x) {
  return A(1) / (A(1) + fast_exp(-x));
}

// As std::clamp, for host and device.
template <class A>
ELASTRON_HD inline A clamped(A x, A low, A high) {
  return x < low ? low : (high < x ? high : x);
}

// place = x, rounded to its type. Assigning a whole bf16 is a copy of a struct, which keeps GCC 12
// from vectorising the loop around it (ten times slower).
template <class T, class A>
ELASTRON_HD inline void put(T& place, A x) {
  if constexpr (std::is_same_v<T, bf16>) {
    place.bits = bf16(float(x)).bits;
  } else {
    place = T(x);
  }
}

// x as it reads after being stored in T.
template <class T, class A>
ELASTRON_HD inline A rounded(A x) {
  if constexpr (std::is_same_v<T, A>) {
    return x;
  } else {
    return A(T(x));
  }
}

}  // namespace elastron::ops::detail
