#include "data/balance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/philox.h"

namespace elastron::data {
namespace {

using Dealt = std::vector<std::vector<int64_t>>;

// Costs of documents between 1 K and 64 K tokens, alike in the logarithm: linear and quadratic.
std::vector<double> drawn(uint32_t draw, int64_t count) {
  RandomStream stream(7, RandomPurpose::shuffle, draw, 0);
  std::vector<double> costs;
  for (int64_t i = 0; i < count; ++i) {
    const double tokens = std::exp2(10 + 6 * double(stream.next_below(1 << 20)) / (1 << 20));
    costs.push_back(tokens + tokens * tokens / 32768);
  }
  return costs;
}

void expect_each_once(const Dealt& dealt, int64_t count, int ranks) {
  ASSERT_EQ(dealt.size(), size_t(ranks));
  std::vector<int64_t> all;
  for (const auto& own : dealt) {
    EXPECT_EQ(int64_t(own.size()), count / ranks);
    EXPECT_TRUE(std::ranges::is_sorted(own));
    all.insert(all.end(), own.begin(), own.end());
  }
  std::ranges::sort(all);
  std::vector<int64_t> expected(static_cast<size_t>(count));
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all, expected);
}

// The smallest possible largest sum of two ranks.
double best_of_two(const std::vector<double>& costs) {
  const auto count = int(costs.size());
  const double all = std::accumulate(costs.begin(), costs.end(), 0.0);
  double best = all;
  for (int mask = 0; mask < 1 << count; ++mask) {
    if (__builtin_popcount(unsigned(mask)) * 2 != count) continue;
    double sum = 0;
    for (int i = 0; i < count; ++i) sum += mask >> i & 1 ? costs[size_t(i)] : 0.0;
    best = std::min(best, std::max(sum, all - sum));
  }
  return best * 2 / all;
}

TEST(Balance, EachMicroBatchOnceAndNeverWorseThanInTurns) {
  double in_turns = 0, balanced = 0;
  for (uint32_t draw = 0; draw < 200; ++draw) {
    for (const int ranks : {1, 2, 3, 8}) {
      const int64_t count = ranks * int64_t(1 + draw % 7);
      const auto costs = drawn(draw, count);
      const Dealt dealt = balance(costs, ranks);
      expect_each_once(dealt, count, ranks);
      const double plain = imbalance(costs, round_robin(count, ranks));
      EXPECT_LE(imbalance(costs, dealt), plain);
      EXPECT_EQ(balance(costs, ranks), dealt);
      if (ranks == 1 || count < 4 * ranks) continue;
      in_turns += plain - 1;
      balanced += imbalance(costs, dealt) - 1;
    }
  }
  EXPECT_LT(balanced * 4, in_turns);  // where each has four or more
}

TEST(Balance, NearTheBestThereIs) {
  for (uint32_t draw = 0; draw < 100; ++draw) {
    const auto costs = drawn(draw, 8);
    const double best = best_of_two(costs);
    EXPECT_LE(imbalance(costs, balance(costs, 2)), best * 1.1) << draw;
  }
}

TEST(Balance, EqualCostsGoInTurns) {
  const std::vector<double> costs(12, 3.5);
  EXPECT_EQ(balance(costs, 4), round_robin(12, 4));
  EXPECT_EQ(imbalance(costs, round_robin(12, 4)), 1.0);
  EXPECT_EQ(imbalance(std::vector<double>(4, 0.0), round_robin(4, 2)), 1.0);
}

TEST(Balance, OneEachStaysWhereItIs) {
  const std::vector<double> costs = {1, 5, 2, 9};
  EXPECT_EQ(balance(costs, 4), round_robin(4, 4));
  EXPECT_DOUBLE_EQ(imbalance(costs, balance(costs, 4)), 9 * 4 / 17.0);
}

TEST(Balance, TheLargestApart) {
  // In turns the first rank has both large ones.
  EXPECT_EQ(balance(std::vector<double>{8, 1, 8, 1}, 2), (Dealt{{0, 1}, {2, 3}}));
}

}  // namespace
}  // namespace elastron::data
