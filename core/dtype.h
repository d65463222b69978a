// Element types. bf16 is a storage type: arithmetic is done in float. So is e4m3 (core/float8.h), in
// which only frozen weights are kept, with scales beside them (core/weight_scale.h).
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/host_device.h"

namespace elastron {

enum class DType : uint8_t { f64, f32, bf16, i64, i32, u8, e4m3 };

size_t dtype_size(DType t);
std::string_view dtype_name(DType t);          // "float32", "bfloat16", ...
DType dtype_from_name(std::string_view name);  // the names above; throws LogicError

// Upper half of an IEEE float. Rounds to nearest even; NaN stays NaN.
struct bf16 {
  uint16_t bits = 0;

  bf16() = default;
  ELASTRON_HD explicit bf16(float x) {
#if defined(__CUDA_ARCH__)
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));  // one instruction for all below
#else
    const uint32_t u = std::bit_cast<uint32_t>(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
      bits = static_cast<uint16_t>((u >> 16) | 0x40u);
    } else {
      bits = static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
    }
#endif
  }
  ELASTRON_HD operator float() const {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};
static_assert(sizeof(bf16) == 2);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::u8;
};
template <class T>
inline constexpr DType dtype_of = DTypeOf<T>::value;

// The type sums are kept in: float for bf16 and float, double for double.
template <class T>
struct AccumulatorOf {
  using type = float;
};
template <>
struct AccumulatorOf<double> {
  using type = double;
};
template <class T>
using accumulator_t = typename AccumulatorOf<T>::type;
inline DType accumulator_dtype(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

}  // namespace elastron
