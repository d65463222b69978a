#include "core/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/dispatch.h"
#include "core/error.h"
#include "core/float8.h"

namespace elastron {
namespace {

TEST(DType, SizesAndNames) {
  const struct {
    DType type;
    size_t size;
    const char* name;
  } table[] = {{DType::f64, 8, "float64"},       {DType::f32, 4, "float32"},
               {DType::bf16, 2, "bfloat16"},     {DType::i64, 8, "int64"},
               {DType::i32, 4, "int32"},         {DType::u8, 1, "uint8"},
               {DType::e4m3, 1, "float8_e4m3fn"}};
  for (const auto& row : table) {
    EXPECT_EQ(dtype_size(row.type), row.size);
    EXPECT_EQ(dtype_name(row.type), row.name);
    EXPECT_EQ(dtype_from_name(row.name), row.type);
  }
  EXPECT_THROW(dtype_from_name("float16"), LogicError);
  EXPECT_EQ(accumulator_dtype(DType::bf16), DType::f32);
  EXPECT_EQ(accumulator_dtype(DType::f64), DType::f64);
}

bf16 from_bits(uint16_t bits) {
  bf16 x;
  x.bits = bits;
  return x;
}

TEST(BFloat16, EveryValueSurvivesFloat) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float x = from_bits(uint16_t(bits));
    const bf16 back(x);
    if (std::isnan(x)) {
      EXPECT_TRUE(std::isnan(float(back))) << bits;
    } else {
      EXPECT_EQ(back.bits, bits);
    }
  }
}

TEST(Float8, EveryValueByItsDefinition) {
  for (int bits = 0; bits < 256; ++bits) {
    const float x = e4m3::from_bits(uint8_t(bits));
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    if ((bits & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(x)) << bits;
      continue;
    }
    const double size =
        exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    EXPECT_EQ(x, float(bits < 128 ? size : -size)) << bits;
    EXPECT_EQ(std::signbit(x), bits >= 128) << bits;
  }
  EXPECT_EQ(float(e4m3::from_bits(0x7e)), 448.0f);
  EXPECT_EQ(float(e4m3::from_bits(0x08)), 0x1p-6f);
}

// Against the definition: the nearer neighbour, the even one in the middle, and beyond the largest
// the largest.
TEST(Float8, RoundsToNearestEven) {
  for (int bits = 0; bits < 0x7e; ++bits) {
    const float below = e4m3::from_bits(uint8_t(bits)), above = e4m3::from_bits(uint8_t(bits + 1));
    EXPECT_EQ(e4m3(below).bits, bits);
    const float middle = (below + above) / 2;  // exact
    for (const float x : {std::nextafter(below, above), std::nextafter(middle, below), middle,
                          std::nextafter(middle, above), std::nextafter(above, below)}) {
      const bool up = x > middle || (x == middle && bits % 2 == 1);
      EXPECT_EQ(e4m3(x).bits, bits + int(up)) << x;
      EXPECT_EQ(e4m3(-x).bits, (bits + int(up)) | 0x80) << -x;
    }
  }
  EXPECT_EQ(e4m3(-0.0f).bits, 0x80);
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float x : {448.0f, 449.0f, 464.0f, 480.0f, 1e30f, infinity}) {
    EXPECT_EQ(float(e4m3(x)), 448.0f) << x;
    EXPECT_EQ(float(e4m3(-x)), -448.0f) << x;
  }
  EXPECT_TRUE(std::isnan(float(e4m3(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(float(e4m3(std::numeric_limits<float>::denorm_min())), 0.0f);
}

// Against the definition: the nearer neighbour, the even one in the middle.
TEST(BFloat16, RoundsToNearestEven) {
  for (uint32_t high = 0; high < 0x7f7f; high += 7) {
    const double below = from_bits(uint16_t(high));
    const double above = from_bits(uint16_t(high + 1));
    for (const uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const auto x = std::bit_cast<float>(high << 16 | low);
      const double to_below = double(x) - below;
      const double to_above = above - double(x);
      uint16_t expected = uint16_t(high);
      if (to_above < to_below || (to_above == to_below && high % 2 == 1)) ++expected;
      EXPECT_EQ(bf16(x).bits, expected) << std::hex << (high << 16 | low);
      EXPECT_EQ(bf16(-x).bits, expected | 0x8000) << std::hex << (high << 16 | low);
    }
  }
}

TEST(BFloat16, Extremes) {
  EXPECT_TRUE(std::isinf(float(bf16(std::numeric_limits<float>::max()))));
  EXPECT_TRUE(std::isinf(float(bf16(std::numeric_limits<float>::infinity()))));
  // A NaN whose payload lies in the dropped half must not become infinity.
  EXPECT_TRUE(std::isnan(float(bf16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_EQ(std::bit_cast<uint32_t>(float(bf16(-0.0f))), 0x80000000u);
}

}  // namespace
}  // namespace elastron
