// The head against its definition, its gradients against finite differences, and what it leaves
// alone.
#include "reward/head.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ops/elementwise.h"
#include "tests/support/gradcheck.h"

namespace elastron::reward {
namespace {

constexpr int64_t kHidden = 24, kTokens = 11;
const std::vector<int32_t> kLast = {3, 4, 10};

class Head : public ::testing::Test {
 protected:
  CpuDevice cpu;
};

TEST_F(Head, ScoresAreInnerProductsOfTheLastTokens) {
  RewardHead head(kHidden, DType::f64, 7, true, cpu);
  const Tensor hidden = test::random_tensor({kTokens, kHidden}, DType::f64, cpu, 1);
  RewardHead::Saved saved;
  const auto scores = head.forward(hidden, kLast, saved).to_vector<double>();
  ASSERT_EQ(scores.size(), kLast.size());
  const auto w = head.parameter().value.to_vector<double>(), h = hidden.to_vector<double>();
  for (size_t n = 0; n < kLast.size(); ++n) {
    double sum = 0;
    for (size_t i = 0; i < size_t(kHidden); ++i) {
      sum += w[i] * h[size_t(kLast[n]) * size_t(kHidden) + i];
    }
    EXPECT_NEAR(scores[n], sum, 1e-14);
  }
}

TEST_F(Head, GradientsAreFiniteDifferences) {
  RewardHead head(kHidden, DType::f64, 7, true, cpu);
  const Tensor hidden = test::random_tensor({kTokens, kHidden}, DType::f64, cpu, 1);
  const std::vector<double> d = {0.7, -1.3, 0.4};
  const Tensor d_scores = Tensor::from(d, {3}, cpu);
  const auto value = [&](const Tensor& h) {
    RewardHead::Saved ignored;
    const auto scores = head.forward(h, kLast, ignored).to_vector<double>();
    return d[0] * scores[0] + d[1] * scores[1] + d[2] * scores[2];
  };
  RewardHead::Saved saved;
  static_cast<void>(head.forward(hidden, kLast, saved));
  const auto d_hidden = head.backward(d_scores, saved, true).to_vector<double>();
  const auto h = hidden.to_vector<double>();
  constexpr double step = 1e-6;
  for (size_t i = 0; i < h.size(); i += 5) {
    auto up = h, down = h;
    up[i] += step;
    down[i] -= step;
    const double slope = (value(Tensor::from(up, hidden.shape(), cpu)) -
                          value(Tensor::from(down, hidden.shape(), cpu))) /
                         (2 * step);
    EXPECT_NEAR(d_hidden[i], slope, 1e-8) << i;
  }
  const auto gradient = head.parameter().grad.to_vector<double>();
  Tensor& weight = head.parameter().value;
  const auto w = weight.to_vector<double>();
  for (size_t i = 0; i < w.size(); ++i) {
    auto moved = w;
    moved[i] += step;
    weight.copy_from(Tensor::from(moved, weight.shape(), cpu));
    const double up = value(hidden);
    moved[i] -= 2 * step;
    weight.copy_from(Tensor::from(moved, weight.shape(), cpu));
    const double down = value(hidden);
    weight.copy_from(Tensor::from(w, weight.shape(), cpu));
    EXPECT_NEAR(gradient[i], (up - down) / (2 * step), 1e-8) << i;
  }
}

TEST_F(Head, TheTrunkMayBeInBfloat16) {
  RewardHead head(kHidden, DType::f32, 7, true, cpu);
  const Tensor hidden = test::random_tensor({kTokens, kHidden}, DType::bf16, cpu, 1);
  RewardHead::Saved saved;
  const Tensor scores = head.forward(hidden, kLast, saved);
  EXPECT_EQ(scores.dtype(), DType::f32);
  const Tensor d_hidden =
      head.backward(Tensor::from(std::vector<float>{1, 1, 1}, {3}, cpu), saved, true);
  EXPECT_EQ(d_hidden.dtype(), DType::bf16);
  const auto rows = ops::cast(d_hidden, DType::f32).to_vector<float>();
  for (int64_t t = 0; t < kTokens; ++t) {
    const bool scored = std::find(kLast.begin(), kLast.end(), int32_t(t)) != kLast.end();
    EXPECT_EQ(rows[size_t(t * kHidden)] != 0, scored) << t;
  }
}

TEST_F(Head, StartsAsSpecified) {
  constexpr int64_t kMany = 4096;
  RewardHead head(kMany, DType::f32, 3, false, cpu);
  EXPECT_EQ(head.parameter().name, "score.weight");
  EXPECT_EQ(head.parameter().group, ParameterGroup::head);
  EXPECT_FALSE(head.parameter().grad.defined());
  double mean = 0, square = 0;
  for (const float w : head.parameter().value.to_vector<float>()) {
    mean += w / double(kMany);
    square += double(w) * w / double(kMany);
  }
  EXPECT_NEAR(mean * (kMany + 1), 0, 0.1);
  EXPECT_NEAR(std::sqrt(square) * (kMany + 1), 1, 0.05);

  RewardHead same(kMany, DType::f32, 3, false, cpu);
  EXPECT_EQ(same.parameter().value.to_vector<float>(), head.parameter().value.to_vector<float>());
}

}  // namespace
}  // namespace elastron::reward
