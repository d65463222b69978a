#include "core/philox.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>
#include <vector>

namespace elastron {
namespace {

// Known answers of the authors' Random123 library (kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, KnownAnswers) {
  const struct {
    PhiloxBlock counter;
    uint32_t key[2];
    PhiloxBlock expected;
  } table[] = {
      {{{0, 0, 0, 0}}, {0, 0}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
      {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
       {0xffffffff, 0xffffffff},
       {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
      {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
       {0xa4093822, 0x299f31d0},
       {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
  };
  for (const auto& row : table) {
    const PhiloxBlock got = philox_block(row.counter, row.key[0], row.key[1]);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(got.v[i], row.expected.v[i]);
  }
}

TEST(RandomStream, SequenceIsRandomAccess) {
  RandomStream sequence(42, RandomPurpose::test, 1, 2, 3);
  const RandomStream access(42, RandomPurpose::test, 1, 2, 3);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(sequence.next_bits(), access.bits_at(i));
}

TEST(RandomStream, EveryCoordinateMatters) {
  std::set<uint32_t> first;
  int streams = 0;
  const auto add = [&](const RandomStream& s) {
    first.insert(s.bits_at(0));
    ++streams;
  };
  for (uint32_t i = 0; i < 20; ++i) {
    add({uint64_t(i + 1), RandomPurpose::test, 0, 0, 0});
    add({uint64_t(i + 1) << 32, RandomPurpose::test, 0, 0, 0});
    add({100, RandomPurpose::test, i + 1, 0, 0});
    add({100, RandomPurpose::test, 0, i + 1, 0});
    add({100, RandomPurpose::test, 0, 0, i + 1});
  }
  for (uint32_t p = 1; p <= uint32_t(RandomPurpose::test); ++p) add({100, RandomPurpose(p)});
  EXPECT_EQ(int(first.size()), streams);
  const RandomStream s(1, RandomPurpose::test);
  EXPECT_NE(s.bits_at(0), s.bits_at(uint64_t(1) << 34));
}

TEST(RandomStream, Uniform) {
  const RandomStream s(7, RandomPurpose::test);
  constexpr int n = 100000;
  std::array<int, 16> bins{};
  for (int i = 0; i < n; ++i) {
    const float u = s.uniform_at(uint64_t(i));
    ASSERT_GE(u, 0.0f);
    ASSERT_LT(u, 1.0f);
    ++bins[size_t(u * 16)];
  }
  // Chi-square with 15 degrees of freedom: above 50 has probability 1e-5.
  double chi = 0;
  for (const int count : bins) chi += std::pow(count - n / 16.0, 2) / (n / 16.0);
  EXPECT_LT(chi, 50);
}

TEST(RandomStream, Normal) {
  const RandomStream s(8, RandomPurpose::test);
  constexpr int n = 100000;
  double moments[5] = {};
  for (int i = 0; i < n; ++i) {
    const double x = s.normal_at(uint64_t(i));
    ASSERT_TRUE(std::isfinite(x));
    for (int k = 1; k <= 4; ++k) moments[k] += std::pow(x, k) / n;
  }
  // Five standard errors each.
  const double root = std::sqrt(double(n));
  EXPECT_NEAR(moments[1], 0, 5 / root);
  EXPECT_NEAR(moments[2], 1, 5 * std::sqrt(2.0) / root);
  EXPECT_NEAR(moments[3], 0, 5 * std::sqrt(15.0) / root);
  EXPECT_NEAR(moments[4], 3, 5 * std::sqrt(96.0) / root);
}

TEST(RandomStream, BelowIsUnbiased) {
  RandomStream s(9, RandomPurpose::test);
  EXPECT_EQ(s.next_below(1), 0u);
  // 3 * 2^30: with a plain modulo or multiply the first quarter would come up twice as often.
  constexpr uint32_t range = 3u << 30;
  int low = 0;
  constexpr int n = 30000;
  for (int i = 0; i < n; ++i) {
    const uint32_t x = s.next_below(range);
    ASSERT_LT(x, range);
    if (x % 3 == 0) ++low;
  }
  EXPECT_NEAR(double(low) / n, 1.0 / 3, 5 * std::sqrt(2.0 / 9 / n));
}

TEST(RandomCoordinate, IsFnv1a) {
  EXPECT_EQ(random_coordinate(""), 0x811c9dc5u);
  EXPECT_EQ(random_coordinate("a"), 0xe40c292cu);
  EXPECT_EQ(random_coordinate("foobar"), 0xbf9cf968u);
}

}  // namespace
}  // namespace elastron
