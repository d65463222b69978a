// Registers of the CPU kernels: a thin layer over GCC's vectors, with intrinsics where the
// compiler would not find the instruction. One scalar type T (float or double), as many lanes as
// the machine's registers hold.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#include "core/dtype.h"

namespace elastron::ops::cpu {

#if defined(__AVX512F__)
inline constexpr int kRegisterBytes = 64;
inline constexpr int kMicroRows = 6, kMicroColumns = 4;  // 24 sums, 4 columns, 1 broadcast of 32
#else
inline constexpr int kRegisterBytes = 32;
inline constexpr int kMicroRows = 4, kMicroColumns = 2;  // 8 sums, 2 columns, 1 broadcast of 16
#endif

template <class T>
struct Simd;
template <>
struct Simd<float> {
  typedef float V __attribute__((vector_size(kRegisterBytes)));
  typedef int32_t I __attribute__((vector_size(kRegisterBytes)));
  using Integer = int32_t;
  static constexpr int lanes = kRegisterBytes / 4;
};
template <>
struct Simd<double> {
  typedef double V __attribute__((vector_size(kRegisterBytes)));
  typedef int64_t I __attribute__((vector_size(kRegisterBytes)));
  using Integer = int64_t;
  static constexpr int lanes = kRegisterBytes / 8;
};
template <class T>
using vec = typename Simd<T>::V;
template <class T>
using ivec = typename Simd<T>::I;
template <class T>
inline constexpr int kLanes = Simd<T>::lanes;

template <class T>
[[gnu::always_inline]] inline vec<T> load(const T* p) {
  vec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
[[gnu::always_inline]] inline void store(T* p, vec<T> v) {
  std::memcpy(p, &v, sizeof v);
}
template <class T>
[[gnu::always_inline]] inline vec<T> broadcast(T x) {
  return x - vec<T>{};
}

template <class T>
[[gnu::always_inline]] inline vec<T> multiply_add(vec<T> a, vec<T> b, vec<T> c) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return vec<T>(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
  if constexpr (sizeof(T) == 8) return vec<T>(_mm512_fmadd_pd(__m512d(a), __m512d(b), __m512d(c)));
#elif defined(__AVX2__) && defined(__FMA__)
  if constexpr (sizeof(T) == 4) return vec<T>(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c)));
  if constexpr (sizeof(T) == 8) return vec<T>(_mm256_fmadd_pd(__m256d(a), __m256d(b), __m256d(c)));
#else
  return a * b + c;
#endif
}

// Larger of the two; NaN in `b` stays.
template <class T>
[[gnu::always_inline]] inline vec<T> larger(vec<T> a, vec<T> b) {
#if defined(__AVX512F__)
  // With a mask of all lanes: GCC 12 takes the plain form for a use of an uninitialised value.
  if constexpr (sizeof(T) == 4) return vec<T>(_mm512_maskz_max_ps(0xffff, __m512(a), __m512(b)));
  if constexpr (sizeof(T) == 8) return vec<T>(_mm512_maskz_max_pd(0xff, __m512d(a), __m512d(b)));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) return vec<T>(_mm256_max_ps(__m256(a), __m256(b)));
  if constexpr (sizeof(T) == 8) return vec<T>(_mm256_max_pd(__m256d(a), __m256d(b)));
#else
  return a > b ? a : b;
#endif
}

// 2^x for x <= 127 (float) or 1023 (double), -infinity included; below the normal numbers it is 0.
// 2^x = 2^n 2^f with n = round(x) and a polynomial in f, |f| <= 1/2. Float: relative error of the
// polynomial 2e-9 (least maximum fit with p(0) = 1); double: the Taylor series to 13 terms, 1e-17.
template <class T>
[[gnu::always_inline]] inline vec<T> exp2_lanes(vec<T> x) {
  constexpr bool single = sizeof(T) == 4;
  constexpr T kLeast = single ? T(-126) : T(-1022);
  constexpr T kRound = single ? T(12582912.0) : T(6755399441055744.0);  // 1.5 * 2^(digits - 1)
  constexpr int kMantissa = single ? 23 : 52;
  const vec<T> clamped = larger<T>(broadcast<T>(kLeast), x);
  const vec<T> shifted = clamped + kRound;  // low bits hold n
  const vec<T> f = clamped - (shifted - kRound);
  vec<T> p;
  if constexpr (single) {
    p = broadcast<T>(1.535336188e-4f);
    for (const float c : {1.3398874422e-3f, 9.6184373578e-3f, 5.5503324711e-2f, 2.4022647914e-1f,
                          6.9314720286e-1f, 1.0f}) {
      p = multiply_add<T>(p, f, broadcast<T>(c));
    }
  } else {
    p = broadcast<T>(1.3691488853904128881e-12);
    for (const double c :
         {2.5678435993488205142e-11, 4.4455382718708114976e-10, 7.0549116208011233299e-9,
          1.0178086009239699728e-7, 1.3215486790144309488e-6, 1.5252733804059840280e-5,
          1.5403530393381609954e-4, 1.3333558146428443423e-3, 9.6181291076284771619e-3,
          5.5504108664821579953e-2, 2.4022650695910071233e-1, 6.9314718055994530942e-1, 1.0}) {
      p = multiply_add<T>(p, f, broadcast<T>(c));
    }
  }
  // Adding n to the exponent field; p is in [0.7, 1.42) and n >= -126, or the result is cleared.
  const ivec<T> bits =
      reinterpret_cast<ivec<T>>(p) + (reinterpret_cast<ivec<T>>(shifted) << kMantissa);
  return x < kLeast ? vec<T>{} : reinterpret_cast<vec<T>>(bits);
}

// Interleaves the lower (upper) halves of a and b lane by lane.
template <class T, bool kUpper, size_t... i>
[[gnu::always_inline]] inline vec<T> interleave(vec<T> a, vec<T> b, std::index_sequence<i...>) {
  constexpr int n = kLanes<T>;
  constexpr int base = kUpper ? n / 2 : 0;
  return __builtin_shufflevector(a, b, (i % 2 == 0 ? base + int(i) / 2 : n + base + int(i) / 2)...);
}

// Transposes a square of registers: log2(lanes) perfect shuffles of the rows.
template <class T>
[[gnu::always_inline]] inline void transpose(vec<T> (&rows)[kLanes<T>]) {
  constexpr int n = kLanes<T>;
  constexpr auto lanes = std::make_index_sequence<size_t(n)>{};
#pragma GCC unroll 4
  for (int step = 1; step < n; step *= 2) {
    vec<T> next[n];
#pragma GCC unroll 16
    for (int i = 0; i < n / 2; ++i) {
      next[2 * i] = interleave<T, false>(rows[i], rows[i + n / 2], lanes);
      next[2 * i + 1] = interleave<T, true>(rows[i], rows[i + n / 2], lanes);
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) rows[i] = next[i];
  }
}

template <class T, int kStep, size_t... i>
[[gnu::always_inline]] inline vec<T> rotate(vec<T> v, std::index_sequence<i...>) {
  return __builtin_shufflevector(v, v, ((int(i) + kStep) % kLanes<T>)...);
}
// Sum of the lanes, as a tree.
template <class T, int kStep = kLanes<T> / 2>
[[gnu::always_inline]] inline T add_lanes(vec<T> v) {
  v += rotate<T, kStep>(v, std::make_index_sequence<size_t(kLanes<T>)>{});
  if constexpr (kStep > 1) {
    return add_lanes<T, kStep / 2>(v);
  } else {
    return v[0];
  }
}

// As many numbers of bfloat16 as there are lanes, which is exact.
[[gnu::always_inline]] inline vec<float> load_bf16(const bf16* p) {
#if defined(__AVX512F__)
  const auto* bits = reinterpret_cast<const __m256i*>(p);
  return reinterpret_cast<vec<float>>(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(bits)), 16));
#elif defined(__AVX2__)
  const auto* bits = reinterpret_cast<const __m128i*>(p);
  return reinterpret_cast<vec<float>>(
      _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(bits)), 16));
#else
  vec<float> x;
  for (int i = 0; i < kLanes<float>; ++i) x[i] = float(p[i]);
  return x;
#endif
}

// `count` elements of the storage type, at most a register of them, widened; the rest of the lanes
// is zero.
template <class T, class Storage>
[[gnu::always_inline]] inline vec<T> load_widened(const Storage* p, int64_t count) {
  constexpr int n = kLanes<T>;
  if (count >= n) {
    if constexpr (std::is_same_v<T, Storage>) return load<T>(p);
    if constexpr (std::is_same_v<Storage, bf16> && sizeof(T) == 4) return load_bf16(p);
  }
  T lanes[n] = {};
  for (int64_t i = 0; i < std::min<int64_t>(count, n); ++i) lanes[i] = T(p[i]);
  return load<T>(lanes);
}
template <class T, class Storage>
[[gnu::always_inline]] inline void store_narrowed(Storage* p, vec<T> v, int64_t count) {
  constexpr int n = kLanes<T>;
  if (count >= n) {
    if constexpr (std::is_same_v<T, Storage>) return store<T>(p, v);
#if defined(__AVX512BF16__)
    if constexpr (std::is_same_v<Storage, bf16> && sizeof(T) == 4) {
      const __m256bh rounded = _mm512_cvtneps_pbh(__m512(v));
      std::memcpy(&p->bits, &rounded, sizeof rounded);
      return;
    }
#endif
  }
  T lanes[n];
  store<T>(lanes, v);
  for (int64_t i = 0; i < std::min<int64_t>(count, n); ++i) p[i] = Storage(lanes[i]);
}

// out[d * stride + r] = row(r)[d] * factor for r < rows (zero up to whole registers), d < depth.
template <class T, class Storage, class Row>
inline void pack_transposed(Row row, int64_t rows, int64_t depth, T factor, T* out,
                            int64_t stride) {
  constexpr int n = kLanes<T>;
  for (int64_t r = 0; r < rows; r += n) {
    const int64_t here = rows - r < n ? rows - r : n;
    for (int64_t d = 0; d < depth; d += n) {
      vec<T> block[n] = {};
      for (int64_t i = 0; i < here; ++i) {
        block[i] = load_widened<T, Storage>(row(r + i) + d, depth - d) * factor;
      }
      transpose<T>(block);
      const int64_t columns = depth - d < n ? depth - d : n;
      for (int64_t i = 0; i < columns; ++i) store<T>(out + (d + i) * stride + r, block[i]);
    }
  }
}

// row(r)[d] = in[d * stride + r] * factors[r] for r < rows, d < depth.
template <class T, class Storage, class Row>
inline void unpack_transposed(const T* in, int64_t stride, const T* factors, int64_t rows,
                              int64_t depth, Row row) {
  constexpr int n = kLanes<T>;
  for (int64_t r = 0; r < rows; r += n) {
    const int64_t here = rows - r < n ? rows - r : n;
    const vec<T> factor = load<T>(factors + r);
    for (int64_t d = 0; d < depth; d += n) {
      vec<T> block[n] = {};
      const int64_t columns = depth - d < n ? depth - d : n;
      for (int64_t i = 0; i < columns; ++i) block[i] = load<T>(in + (d + i) * stride + r) * factor;
      transpose<T>(block);
      for (int64_t i = 0; i < here; ++i) {
        store_narrowed<T, Storage>(row(r + i) + d, block[i], depth - d);
      }
    }
  }
}

}  // namespace elastron::ops::cpu
