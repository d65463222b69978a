// Who computes which micro batch.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "train/step/step_batches.h"

namespace elastron::train {
namespace {

using Dealt = std::vector<std::vector<int64_t>>;

double largest_sum(const std::vector<double>& costs, const Dealt& dealt) {
  double largest = 0;
  for (const auto& own : dealt) {
    double sum = 0;
    for (const int64_t i : own) sum += costs[size_t(i)];
    largest = std::max(largest, sum);
  }
  return largest;
}

void expect_each_once(const Dealt& dealt, size_t count, size_t ranks) {
  ASSERT_EQ(dealt.size(), ranks);
  std::vector<int64_t> all;
  for (const auto& own : dealt) {
    EXPECT_EQ(own.size(), count / ranks);
    EXPECT_TRUE(std::ranges::is_sorted(own));
    all.insert(all.end(), own.begin(), own.end());
  }
  std::ranges::sort(all);
  std::vector<int64_t> expected(count);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all, expected);
}

TEST(Deal, ByCostIsEvenWhereTurnsAreNot) {
  // Every other pack is long: in turns one of two ranks gets all of those.
  const std::vector<double> costs = {16, 1, 16, 1, 16, 1, 16, 1};
  const Dealt turns = deal(costs, 2, Balance::none), by_cost = deal(costs, 2, Balance::cost);
  expect_each_once(turns, 8, 2);
  expect_each_once(by_cost, 8, 2);
  EXPECT_EQ(largest_sum(costs, turns), 64);
  EXPECT_EQ(largest_sum(costs, by_cost), 34);
  EXPECT_EQ(turns, (Dealt{{0, 2, 4, 6}, {1, 3, 5, 7}}));
}

TEST(Deal, ByCostOfFourRanks) {
  // 9 + 1, 8 + 2, 7 + 3, 6 + 4 is the only even way.
  const std::vector<double> costs = {9, 8, 7, 6, 4, 3, 2, 1};
  const Dealt dealt = deal(costs, 4, Balance::cost);
  expect_each_once(dealt, 8, 4);
  EXPECT_EQ(largest_sum(costs, dealt), 10);
  EXPECT_EQ(largest_sum(costs, deal(costs, 4, Balance::none)), 13);
}

TEST(Deal, EqualCostsGoInTurnsWhateverTheyAre) {
  const Dealt turns = {{0, 3}, {1, 4}, {2, 5}};
  for (const double cost : {0.0, 1.0, 1e30}) {
    EXPECT_EQ(deal(std::vector<double>(6, cost), 3, Balance::cost), turns) << cost;
  }
}

TEST(Deal, TheSameEveryTimeWithTies) {
  const std::vector<double> costs = {5, 5, 2, 2, 2, 5, 2, 5};
  const Dealt first = deal(costs, 2, Balance::cost);
  expect_each_once(first, 8, 2);
  EXPECT_EQ(largest_sum(costs, first), 14);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(deal(costs, 2, Balance::cost), first);
}

TEST(Deal, InTurnsWhereRanksDoNotDivide) {
  EXPECT_EQ(deal(std::vector<double>{3, 2, 1}, 2, Balance::cost), (Dealt{{0, 2}, {1}}));
}

}  // namespace
}  // namespace elastron::train
