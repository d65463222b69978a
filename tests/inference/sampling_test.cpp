// Which token comes next: the likeliest, or one drawn by its probability.
#include "inference/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "core/error.h"

namespace elastron::inference {
namespace {

std::map<int32_t, int> draw(const std::vector<float>& logits, Sampling sampling, int times) {
  std::map<int32_t, int> count;
  for (int position = 0; position < times; ++position) {
    ++count[next_token(logits, sampling, position)];
  }
  return count;
}

TEST(Sampling, GreedyTakesTheFirstOfEquals) {
  EXPECT_EQ(next_token(std::vector<float>{-1, 3, 2, 3}, {}, 0), 1);
  EXPECT_EQ(next_token(std::vector<float>{-5}, {}, 0), 0);
}

TEST(Sampling, DrawsByProbability) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  constexpr int kTimes = 20000;
  for (const double temperature : {1.0, 2.0}) {
    const auto count = draw(logits, {.temperature = temperature, .seed = 4}, kTimes);
    double all = 0;
    for (const float l : logits) all += std::exp(l / temperature);
    for (int32_t id = 0; id < 3; ++id) {
      const double p = std::exp(logits[size_t(id)] / temperature) / all;
      // Six standard deviations of a binomial count.
      EXPECT_NEAR(count.at(id), kTimes * p, 6 * std::sqrt(kTimes * p * (1 - p))) << temperature;
    }
  }
}

TEST(Sampling, TopPKeepsTheTokenThatReachesIt) {
  const std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  const auto kept = [&](double top_p) {
    return draw(logits, {.temperature = 1, .top_p = top_p}, 500).size();
  };
  EXPECT_EQ(kept(0.0), 1u);
  EXPECT_EQ(kept(0.49), 1u);
  EXPECT_EQ(kept(0.51), 2u);
  EXPECT_EQ(kept(0.79), 2u);
  EXPECT_EQ(kept(0.81), 3u);
}

TEST(Sampling, IsAFunctionOfSeedStreamAndPosition) {
  const std::vector<float> logits(50, 0.0f);
  const auto ids = [&](uint64_t seed, uint64_t stream) {
    std::vector<int32_t> out;
    for (int position = 0; position < 20; ++position) {
      out.push_back(
          next_token(logits, {.temperature = 1, .seed = seed, .stream = stream}, position));
    }
    return out;
  };
  const auto one = ids(1, 0);
  EXPECT_EQ(ids(1, 0), one);
  EXPECT_NE(ids(2, 0), one);
  EXPECT_NE(ids(1, 1), one);
  // Both halves of the stream's name count.
  EXPECT_NE(ids(1, uint64_t(1) << 32), one);
  EXPECT_NE(ids(1, uint64_t(1) << 32), ids(1, 1));
}

TEST(Sampling, RefusesWhatIsNoNumber) {
  const std::vector<float> logits = {1, std::numeric_limits<float>::quiet_NaN(), 2};
  for (const double temperature : {0.0, 1.0}) {
    EXPECT_THROW(next_token(logits, {.temperature = temperature}, 7), NumericalError);
  }
}

// Among 0.5, 0.3, 0.15 and 0.05.
TEST(Sampling, RulesLeaveTheLikeliest) {
  const std::vector<float> logits = {std::log(0.3f), std::log(0.5f), std::log(0.05f),
                                     std::log(0.15f)};
  const auto left = [&](Sampling sampling) {
    sampling.temperature = 1;
    std::vector<int32_t> ids;
    for (const auto& [id, n] : draw(logits, sampling, 2000)) ids.push_back(id);
    return ids;
  };
  EXPECT_EQ(left({}), (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(left({.top_k = 2}), (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(left({.top_k = 9}), (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(left({.min_p = 0.25}), (std::vector<int32_t>{0, 1, 3}));
  EXPECT_EQ(left({.min_p = 1}), (std::vector<int32_t>{1}));
  // Of two, 0.5 / 0.8 is less than 0.7 of their probability.
  EXPECT_EQ(left({.top_k = 2, .top_p = 0.6}), (std::vector<int32_t>{1}));
  EXPECT_EQ(left({.top_k = 2, .top_p = 0.7}), (std::vector<int32_t>{0, 1}));
}

}  // namespace
}  // namespace elastron::inference
