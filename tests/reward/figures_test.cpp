// Numbers of docs/method.md, Worked values of pairs, 1, 9 and 10, and cases worked out by hand.
#include "reward/figures.h"

#include <gtest/gtest.h>

#include <cmath>

namespace elastron::reward {
namespace {

std::vector<JudgedPair> of_margins(std::initializer_list<double> margins) {
  std::vector<JudgedPair> pairs;
  for (const double m : margins) pairs.push_back({.chosen = m, .rejected = 0});
  return pairs;
}

TEST(Figures, Accuracy) {
  const auto half = accuracy(std::vector<JudgedPair>{{1.0, 0.5}, {0.2, 0.4}});
  EXPECT_EQ(half.strict(), 0.5);
  const auto tied = accuracy(std::vector<JudgedPair>{{1, 1}, {2, 1}, {0, 1}, {3, 3}});
  EXPECT_EQ(tied.strict(), 0.25);
  EXPECT_EQ(tied.tie_aware(), 0.5);
  EXPECT_EQ(tied.ties, 2);
  EXPECT_EQ(accuracy({}).strict(), 0);
}

TEST(Figures, Normalisation) {
  const std::vector<double> rewards = {2, 0, 1, -1};
  const Moments m = moments(rewards);
  EXPECT_EQ(m.mean, 0.5);
  EXPECT_NEAR(m.deviation, 1.290994, 5e-7);
  const double expected[] = {1.161895, -0.387298, 0.387298, -1.161895};
  for (size_t i = 0; i < 4; ++i)
    EXPECT_NEAR((rewards[i] - m.mean) / m.deviation, expected[i], 5e-7);
  EXPECT_EQ(moments(std::vector<double>{3}).deviation, 0);
}

TEST(Figures, Median) {
  EXPECT_EQ(median(std::vector<double>{3, 1, 2}), 2);
  EXPECT_EQ(median(std::vector<double>{4, 1, 2, 3}), 2.5);
  EXPECT_EQ(median({}), 0);
}

// Expected values: the binomial sums in whole-number fractions (Python's fractions and math.comb).
TEST(Figures, McNemar) {
  struct Case {
    int64_t first, second;
    double p;
  };
  for (const Case& c : std::initializer_list<Case>{{1, 5, 0.21875},
                                                   {5, 1, 0.21875},
                                                   {0, 8, 0.0078125},
                                                   {10, 25, 0.01667384780012071},
                                                   {600, 700, 0.0060157938610449525},
                                                   {1100, 1300, 4.8184641033801756e-05}}) {
    EXPECT_NEAR(mcnemar(c.first, c.second), c.p, 1e-10 * c.p) << c.first << " and " << c.second;
  }
  EXPECT_EQ(mcnemar(3, 3), 1);
  EXPECT_EQ(mcnemar(0, 0), 1);
}

TEST(Figures, AgainstLongerWins) {
  // Right and longer; right and shorter; wrong and longer; a tie, longer; right at equal length.
  const std::vector<JudgedPair> pairs = {
      {2, 1, 9, 5}, {2, 1, 5, 9}, {1, 2, 9, 5}, {1, 1, 9, 5}, {2, 1, 7, 7}};
  const PairedTest test = against_longer_wins(pairs);
  EXPECT_EQ(test.pairs, 4);
  EXPECT_EQ(test.equal_length, 1);
  EXPECT_EQ(test.only_judge, 1);
  EXPECT_EQ(test.only_longer, 2);
  EXPECT_EQ(test.p(), 1);
}

TEST(Figures, Calibration) {
  const auto pairs = of_margins({2, -0.5, 0.1, 1, -1.5, 0.3});
  EXPECT_NEAR(accuracy(pairs).strict(), 0.666667, 5e-7);
  const Calibration c = calibration(pairs, 5);
  EXPECT_NEAR(c.bradley_terry, 0.719072, 5e-7);
  EXPECT_NEAR(c.brier, 0.258194, 5e-7);
  EXPECT_NEAR(c.ece, 0.415058, 5e-7);
}

// The best temperature of margins that were stretched is the stretch; a judge that is wrong on the
// whole, or never, has none.
TEST(Figures, FittedTemperature) {
  std::vector<JudgedPair> pairs;
  for (const double m : {0.5, 1.0, 2.0}) {
    // As often right as sigmoid(m) says, in thousandths.
    const int right = int(std::lround(1000 / (1 + std::exp(-m))));
    for (int i = 0; i < 1000; ++i) pairs.push_back({.chosen = i < right ? 3 * m : -3 * m});
  }
  EXPECT_NEAR(calibration(pairs).temperature, 3, 0.01);
  EXPECT_EQ(calibration(of_margins({-1, 0.5})).temperature, 0);
  EXPECT_EQ(calibration(of_margins({1, 2})).temperature, 0);
}

TEST(Figures, LengthBias) {
  const std::vector<JudgedPair> pairs = {
      {1, 0, 10, 5}, {2, 0, 20, 5}, {-1, 0, 5, 10}, {0.5, 0, 7, 7}};
  const LengthBias bias = length_bias(pairs);
  EXPECT_EQ(bias.longer_wins, 2.5 / 4);
  EXPECT_EQ(bias.shorter_wins(), 1.5 / 4);
  EXPECT_EQ(bias.chosen_is_shorter.pairs, 1);
  EXPECT_EQ(bias.chosen_is_shorter.right, 0);
  EXPECT_GT(bias.correlation, 0.9);
  EXPECT_EQ(length_bias(of_margins({1, 1})).correlation, 0);
}

TEST(Figures, PooledAuc) {
  EXPECT_EQ(pooled_auc(std::vector<JudgedPair>{{2, 0}, {3, 1}}), 1);
  EXPECT_EQ(pooled_auc(std::vector<JudgedPair>{{0, 2}, {1, 3}}), 0);
  EXPECT_EQ(pooled_auc(std::vector<JudgedPair>{{1, 1}, {1, 1}}), 0.5);
  EXPECT_EQ(pooled_auc(std::vector<JudgedPair>{{0, 1}, {2, 0}}), 0.5 * (0.5 + 2) / 2);
}

TEST(Figures, Wilson) {
  const Interval half = wilson_interval(8, 15);
  EXPECT_NEAR(half.low, 0.3012, 1e-4);
  EXPECT_NEAR(half.high, 0.7519, 1e-4);
  EXPECT_EQ(wilson_interval(0, 10).low, 0);
  EXPECT_GT(wilson_interval(0, 10).high, 0.2);
  EXPECT_EQ(wilson_interval(0, 0).high, 1);
}

TEST(Figures, Histogram) {
  const auto counts = histogram(std::vector<double>{0, 0.05, 0.95, 1, 0.5});
  EXPECT_EQ(counts[0], 2);
  EXPECT_EQ(counts[5], 1);
  EXPECT_EQ(counts[9], 2);
  EXPECT_EQ(histogram(std::vector<double>{4, 4})[0], 2);
}

}  // namespace
}  // namespace elastron::reward
