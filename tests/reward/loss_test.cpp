// Numbers of docs/method.md, Worked values of pairs, 1 to 3, and the derivatives by differences.
#include "reward/loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace elastron::reward {
namespace {

PairLoss plain(double chosen, double rejected, double margin = 0, double smoothing = 0) {
  return bradley_terry(chosen, std::vector<double>{rejected}, margin, smoothing);
}

TEST(BradleyTerry, WorkedValues) {
  EXPECT_NEAR(plain(1.0, 0.5).value, 0.474077, 5e-7);
  EXPECT_NEAR(plain(0.2, 0.4).value, 0.798139, 5e-7);
  EXPECT_NEAR(plain(1.0, 0.5).d_chosen / 2, -0.188770, 5e-7);
  EXPECT_NEAR(plain(0.2, 0.4).d_chosen / 2, -0.274917, 5e-7);
  EXPECT_EQ(plain(0.2, 0.4).d_rejected, -plain(0.2, 0.4).d_chosen);
  EXPECT_NEAR(plain(1.0, 0.5, 0.3).value, 0.598139, 5e-7);
  EXPECT_NEAR(plain(0.2, 0.4, 0.3).value, 0.974077, 5e-7);
}

TEST(BradleyTerry, StaysFinite) {
  EXPECT_EQ(plain(-500, 500).value, 1000);
  EXPECT_EQ(plain(-500, 500).d_chosen, -1);
  EXPECT_EQ(plain(500, -500).value, 0);
  EXPECT_EQ(plain(500, -500).d_chosen, 0);
  EXPECT_DOUBLE_EQ(plain(3, 3).value, std::log(2.0));
  for (const double x : {-1e4, -700.0, -30.0, 0.0, 30.0, 700.0, 1e4}) {
    const Softplus s = negative_log_sigmoid(x);
    EXPECT_TRUE(std::isfinite(s.value) && s.value >= 0) << x;
    EXPECT_TRUE(s.derivative <= 0 && s.derivative >= -1) << x;
    EXPECT_NEAR(s.value - negative_log_sigmoid(-x).value, -x, 1e-12 * std::abs(x)) << x;
  }
}

TEST(BradleyTerry, RejectedScoresAreAveragedFirst) {
  const std::vector<double> rejected = {0.1, 0.5, -0.3};
  const PairLoss several = bradley_terry(0.7, rejected, 0.2, 0.1);
  const PairLoss one = plain(0.7, 0.1, 0.2, 0.1);
  EXPECT_NEAR(several.value, one.value, 1e-15);
  EXPECT_NEAR(several.d_rejected, one.d_rejected, 1e-15);
}

TEST(Simpo, WorkedValues) {
  EXPECT_NEAR(simpo(-1.2, -1.5, {}).value, 0.575939, 5e-7);
  EXPECT_NEAR(simpo(-1.2, -1.5, {.smoothing = 0.1}).value, 0.600939, 5e-7);
  EXPECT_DOUBLE_EQ(simpo(-1.2, -1.5, {.hinge = true}).value, 0.75);
  EXPECT_EQ(simpo(0, -5, {.hinge = true}).value, 0);
  EXPECT_EQ(simpo(0, -5, {.hinge = true}).d_chosen, 0);
}

TEST(Losses, DerivativesAreThoseOfTheValues) {
  constexpr double h = 1e-5;
  for (const double c : {-3.0, -0.2, 0.9, 4.0}) {
    for (const double r : {-2.5, 0.1, 3.0}) {
      for (const double smoothing : {0.0, 0.2}) {
        const auto bt = [&](double x, double y) { return plain(x, y, 0.4, smoothing); };
        EXPECT_NEAR(bt(c, r).d_chosen, (bt(c + h, r).value - bt(c - h, r).value) / (2 * h), 1e-9);
        EXPECT_NEAR(bt(c, r).d_rejected, (bt(c, r + h).value - bt(c, r - h).value) / (2 * h), 1e-9);
        for (const bool hinge : {false, true}) {
          const auto s = [&](double x, double y) {
            return simpo(x, y, {.smoothing = smoothing, .hinge = hinge});
          };
          EXPECT_NEAR(s(c, r).d_chosen, (s(c + h, r).value - s(c - h, r).value) / (2 * h), 1e-8);
          EXPECT_NEAR(s(c, r).d_rejected, (s(c, r + h).value - s(c, r - h).value) / (2 * h), 1e-8);
        }
      }
    }
  }
}

}  // namespace
}  // namespace elastron::reward
