// Mixtures of experts: which ones a token goes to, rows by expert and back, products of groups;
// against plain loops and finite differences.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/matrix_stack.h"
#include "core/meta_device.h"
#include "ops/dequantise.h"
#include "ops/elementwise.h"
#include "ops/expert_choice.h"
#include "ops/expert_rows.h"
#include "ops/grouped_linear.h"
#include "ops/linear.h"
#include "ops/quantise.h"
#include "tests/support/gradcheck.h"
#include "tests/support/thread_counts.h"

namespace elastron::ops {
namespace {

using test::dot;
using test::expect_gradient;
using test::random_tensor;

class Experts : public ::testing::Test {
 protected:
  Tensor rnd(const Shape& shape, uint64_t seed, DType dtype = DType::f64) {
    return random_tensor(shape, dtype, cpu_, seed);
  }
  Tensor ints(const std::vector<int32_t>& values) {
    return Tensor::from(values, {int64_t(values.size())}, cpu_);
  }
  void expect_both_products(const GroupedWeight& w, const Tensor& numbers, DType activations,
                            double tolerance);
  CpuDevice cpu_;
};

// By sorting: the highest logits, the lower expert of equals.
std::vector<int32_t> highest(const std::vector<double>& row, int64_t k) {
  std::vector<int32_t> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int a, int b) { return row[size_t(a)] > row[size_t(b)]; });
  order.resize(size_t(k));
  std::ranges::sort(order);
  return order;
}

TEST_F(Experts, TheHighestLogitsAreChosen) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    for (const auto& [experts, k] :
         {std::pair<int64_t, int64_t>{1, 1}, {5, 2}, {128, 8}, {40, 40}}) {
      const Tensor logits = rnd({33, experts}, 3, dtype);
      const auto all = cast(logits, DType::f64).to_vector<double>();
      const auto chosen = choose_experts(logits, {k, false}).experts.to_vector<int32_t>();
      for (int64_t t = 0; t < 33; ++t) {
        const auto first = all.begin() + t * experts;
        const auto own = chosen.begin() + t * k;
        EXPECT_EQ(std::vector<int32_t>(own, own + k),
                  highest(std::vector<double>(first, first + experts), k))
            << dtype_name(dtype) << " " << experts << " token " << t;
      }
    }
  }
}

TEST_F(Experts, TheLowerOneOfEqualsIsChosen) {
  const std::vector<float> rows = {1,  2,  2,     2,  0,  //
                                   0,  0,  -0.0f, 0,  0,  //
                                   -3, -1, -2,    -1, -1};
  const auto choice = choose_experts(Tensor::from(rows, {3, 5}, cpu_), {2, true});
  EXPECT_EQ(choice.experts.to_vector<int32_t>(), (std::vector<int32_t>{1, 2, 0, 1, 1, 3}));
  for (const float w : choice.weights.to_vector<float>()) EXPECT_FLOAT_EQ(w, 0.5f);
}

// It is told by the weights, and still as many different experts are chosen.
TEST_F(Experts, ANumberThatIsNoneIsNotLost) {
  std::vector<float> row = {1, std::numeric_limits<float>::quiet_NaN(), 3, 2};
  for (const bool normalise : {false, true}) {
    const auto choice = choose_experts(Tensor::from(row, {1, 4}, cpu_), {3, normalise});
    const auto chosen = choice.experts.to_vector<int32_t>();
    EXPECT_TRUE(std::ranges::is_sorted(chosen) && chosen[0] != chosen[1] && chosen[1] != chosen[2]);
    EXPECT_TRUE(std::ranges::any_of(choice.weights.to_vector<float>(),
                                    [](float w) { return std::isnan(w); }));
  }
}

TEST_F(Experts, WeightsAreASoftmaxAndTheirGradientIsItsDerivative) {
  for (const bool normalise : {false, true}) {
    Tensor logits = rnd({7, 6}, 5);
    const ExpertRule rule{.per_token = 3, .normalise = normalise};
    const auto choice = choose_experts(logits, rule);
    const auto l = logits.to_vector<double>(), w = choice.weights.to_vector<double>();
    const auto e = choice.experts.to_vector<int32_t>();
    for (size_t t = 0; t < 7; ++t) {
      double sum = 0;
      for (size_t i = 0; i < (normalise ? 3u : 6u); ++i) {
        sum += std::exp(l[6 * t + (normalise ? size_t(e[3 * t + i]) : i)]);
      }
      for (size_t j = 0; j < 3; ++j) {
        EXPECT_NEAR(w[3 * t + j], std::exp(l[6 * t + size_t(e[3 * t + j])]) / sum, 1e-14);
      }
    }
    const Tensor d = rnd({7, 3}, 6);
    const Tensor gradient = expert_weights_backward(d, logits, choice.experts, rule);
    expect_gradient(
        logits, gradient, [&] { return dot(expert_weights(logits, choice.experts, rule), d); },
        normalise ? "normalised" : "softmax");
  }
}

TEST_F(Experts, RowsStandByExpertAndToken) {
  const Tensor chosen = choose_experts(rnd({50, 9}, 2), {3, false}).experts;
  const auto of = chosen.to_vector<int32_t>();
  const ExpertRows rows = rows_by_expert(chosen, 9);
  const auto bounds = rows.bounds.to_vector<int32_t>(), tokens = rows.tokens.to_vector<int32_t>(),
             slots = rows.slots.to_vector<int32_t>(), places = rows.places.to_vector<int32_t>();
  size_t row = 0;
  for (int32_t e = 0; e < 9; ++e) {
    EXPECT_EQ(bounds[size_t(e)], int32_t(row));
    for (int32_t s = 0; s < 150; ++s) {
      if (of[size_t(s)] != e) continue;
      EXPECT_EQ(slots[row], s);
      EXPECT_EQ(tokens[row], s / 3);
      EXPECT_EQ(places[size_t(s)], int32_t(row));
      ++row;
    }
  }
  EXPECT_EQ(bounds[9], 150);
}

TEST_F(Experts, SumsOfRowsAndTheirGradients) {
  const ExpertRule rule{.per_token = 2, .normalise = false};
  const auto choice = choose_experts(rnd({6, 4}, 1), rule);
  const ExpertRows rows = rows_by_expert(choice.experts, 4);
  Tensor h = rnd({12, 5}, 2), weights = rnd({6, 2}, 3);
  const Tensor d = rnd({6, 5}, 4), y = sum_expert_rows(h, rows, 6, weights);
  const auto places = rows.places.to_vector<int32_t>();
  for (int64_t t = 0; t < 6; ++t) {
    for (int64_t c = 0; c < 5; ++c) {
      double want = 0;
      for (int64_t s = 2 * t; s < 2 * t + 2; ++s) {
        want += weights.data<double>()[s] * h.data<double>()[places[size_t(s)] * 5 + c];
      }
      EXPECT_NEAR(y.data<double>()[t * 5 + c], want, 1e-14);
    }
  }
  // Without weights they are 1.
  const Tensor ones = Tensor::from(std::vector<double>(12, 1.0), {6, 2}, cpu_);
  EXPECT_EQ(sum_expert_rows(h, rows, 6).to_vector<double>(),
            sum_expert_rows(h, rows, 6, ones).to_vector<double>());
  const auto loss = [&] { return dot(sum_expert_rows(h, rows, 6, weights), d); };
  Tensor d_h = Tensor::empty({12, 5}, DType::f64, cpu_);
  for (size_t s = 0; s < 12; ++s) {
    d_h.slice(0, places[s], places[s] + 1)
        .copy_from(d.slice(0, int64_t(s / 2), int64_t(s / 2) + 1));
  }
  const Tensor d_weights = weigh_expert_gradient(d_h, h, rows, weights);
  expect_gradient(h, d_h, loss, "h");
  expect_gradient(weights, d_weights, loss, "weights");
}

// Row by row, by hand.
void expect_products(const Tensor& x, const Tensor& weights, const RowGroups& groups,
                     const Tensor& got, bool gradient, double tolerance) {
  const auto bounds = groups.bounds.to_vector<int32_t>();
  std::vector<int32_t> rows;
  if (groups.rows.defined()) rows = groups.rows.to_vector<int32_t>();
  const auto a = cast(x, DType::f64).to_vector<double>(),
             w = cast(weights, DType::f64).to_vector<double>(),
             y = cast(got, DType::f64).to_vector<double>();
  const int64_t out = weights.size(1), in = weights.size(2);
  const int64_t inner = gradient ? out : in, columns = gradient ? in : out;
  for (int64_t g = 0; g < weights.size(0); ++g) {
    for (int64_t r = bounds[size_t(g)]; r < bounds[size_t(g) + 1]; ++r) {
      const int64_t from = rows.empty() ? r : rows[size_t(r)];
      for (int64_t c = 0; c < columns; ++c) {
        double want = 0;
        for (int64_t i = 0; i < inner; ++i) {
          const int64_t o = gradient ? i : c, k = gradient ? c : i;
          want += a[size_t(from * inner + i)] * w[size_t((g * out + o) * in + k)];
        }
        ASSERT_NEAR(y[size_t(r * columns + c)], want, tolerance * (1 + std::abs(want)))
            << "row " << r << " column " << c;
      }
    }
  }
}

// Rows of groups, as they stand and taken from others, through both products: against plain loops over
// `numbers` [5, 12, 18].
void Experts::expect_both_products(const GroupedWeight& w, const Tensor& numbers, DType activations,
                                   double tolerance) {
  const std::vector<int32_t> bounds = {0, 3, 3, 20, 21, 60};
  std::vector<int32_t> rows;
  for (int32_t i = 0; i < 60; ++i) rows.push_back(i * 7 % 11);
  for (const bool indexed : {false, true}) {
    const RowGroups groups{ints(bounds), indexed ? ints(rows) : Tensor{}};
    const Tensor x = cast(rnd({indexed ? 11 : 60, 18}, 2), activations);
    expect_products(x, numbers, groups, grouped_linear_forward(x, w, groups), false, tolerance);
    const Tensor dy = cast(rnd({indexed ? 11 : 60, 12}, 3), activations);
    const Tensor dx = grouped_linear_dgrad(dy, w, groups);
    expect_products(dy, numbers, groups, dx, true, tolerance);
    Tensor sum = dx.clone();
    grouped_linear_dgrad(dy, w, groups, sum);
    Tensor twice = dx.clone();
    scale_into(twice, 2);
    const auto a = cast(sum, DType::f64).to_vector<double>(),
               b = cast(twice, DType::f64).to_vector<double>();
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance * (1 + std::abs(b[i])));
  }
}

TEST_F(Experts, GroupedLinearEqualsPlainLoops) {
  const Tensor w64 = rnd({5, 12, 18}, 1);
  struct Case {
    DType activations, stored;
    double tolerance;
  };
  for (const Case c : {Case{DType::f64, DType::f64, 1e-13}, Case{DType::f32, DType::f32, 1e-5},
                       Case{DType::bf16, DType::bf16, 0.02}, Case{DType::f32, DType::bf16, 1e-5},
                       Case{DType::bf16, DType::f32, 0.03}}) {
    const Tensor w = cast(w64, c.stored);
    for (const WeightForm form : {WeightForm::in_place, WeightForm::packed}) {
      expect_both_products(GroupedWeight(w, form), w, c.activations, c.tolerance);
    }
  }
}

// A group's scales are its own; blocks that begin before the weight, as those of a rank's part.
TEST_F(Experts, GroupedLinearOfQuantisedWeights) {
  const WeightBlocks blocks{.out = 5, .in = 8};
  Tensor values = Tensor::empty({5, 12, 18}, DType::e4m3, cpu_);
  Tensor numbers = Tensor::empty({5, 12, 18}, DType::f64, cpu_);
  WeightScale scale;
  for (int64_t g = 0; g < 5; ++g) {
    WeightScale one = quantise(rnd({12, 18}, uint64_t(10 + g), DType::f32), blocks).scale;
    one.out_offset = 2;
    one.values = rnd(one.shape_for(12, 18), uint64_t(20 + g), DType::f32);
    scale_into(one.values, 1.0 / 448);
    if (g == 0) {
      scale = one;
      scale.values = Tensor::empty({5, one.values.size(0), one.values.size(1)}, DType::f32, cpu_);
    }
    const Tensor own = quantise(rnd({12, 18}, uint64_t(10 + g), DType::f32), blocks).values;
    matrix_of(values, g).copy_from(own);
    matrix_of(scale.values, g).copy_from(one.values);
    matrix_of(numbers, g).copy_from(dequantise(own, one, DType::f64));
  }
  EXPECT_EQ(dequantise(values, scale, DType::f64).to_vector<double>(), numbers.to_vector<double>());
  const GroupedWeight w(values, scale);
  for (const auto& [activations, tolerance] :
       {std::pair{DType::f64, 1e-13}, {DType::f32, 1e-5}, {DType::bf16, 0.03}}) {
    expect_both_products(w, numbers, activations, tolerance);
  }
}

TEST_F(Experts, GroupedLinearHasTheGradientOfItsInput) {
  const RowGroups groups{ints({0, 2, 2, 7}), ints({4, 1, 0, 2, 3, 1, 4})};
  Tensor x = rnd({5, 6}, 1);
  const GroupedWeight w(rnd({3, 4, 6}, 2), WeightForm::in_place);
  const Tensor d = rnd({7, 4}, 3);
  const Tensor by_row = grouped_linear_dgrad(d, w, {groups.bounds, {}});
  Tensor dx = Tensor::zeros({5, 6}, DType::f64, cpu_);
  const auto rows = groups.rows.to_vector<int32_t>();
  for (size_t r = 0; r < rows.size(); ++r) {
    for (int64_t c = 0; c < 6; ++c) {
      dx.data<double>()[rows[r] * 6 + c] += by_row.data<double>()[int64_t(r) * 6 + c];
    }
  }
  expect_gradient(
      x, dx, [&] { return dot(grouped_linear_forward(x, w, groups), d); }, "x");
}

// Groups of every kind of size, more than one product takes among them: a row is what it is alone,
// on any number of threads.
TEST_F(Experts, GroupsGiveARowTheSameBitsInAnyCompany) {
  for (const auto& [dtype, form] : {std::pair{DType::f32, WeightForm::in_place},
                                    {DType::f32, WeightForm::packed},
                                    {DType::bf16, WeightForm::in_place},
                                    {DType::bf16, WeightForm::packed}}) {
    const std::vector<int32_t> bounds = {0, 1, 18, 18, 307, 2600};
    const GroupedWeight w(rnd({5, 24, 40}, 1, dtype), form);
    const Tensor x = rnd({2600, 40}, 2, dtype);
    const Tensor d = rnd({2600, 24}, 3, dtype), before = rnd({2600, 40}, 4, dtype);
    const auto bits = [](const Tensor& t) {
      const Tensor wide = cast(t, DType::f32);
      return wide.to_vector<float>();
    };
    const auto both = [&] {
      Tensor sum = before.clone();
      grouped_linear_dgrad(d, w, {ints(bounds), {}}, sum);
      auto all = bits(grouped_linear_forward(x, w, {ints(bounds), {}}));
      const auto more = bits(sum);
      all.insert(all.end(), more.begin(), more.end());
      return all;
    };
    test::expect_same_on_any_threads([&]() -> std::vector<Tensor> {
      Tensor sum = before.clone();
      return {grouped_linear_forward(x, w, {ints(bounds), {}}),
              grouped_linear_dgrad(d, w, {ints(bounds), {}}, sum)};
    });
    const auto whole = both();
    for (const int64_t r : {0, 1, 17, 18, 100, 306, 307, 1330, 1331, 2599}) {
      std::vector<int32_t> alone;
      for (const int32_t b : bounds) alone.push_back(b > r ? 1 : 0);
      const RowGroups one{ints(alone), {}};
      Tensor sum = before.slice(0, r, r + 1).clone();
      grouped_linear_dgrad(d.slice(0, r, r + 1), w, one, sum);
      const auto y = bits(grouped_linear_forward(x.slice(0, r, r + 1), w, one)), s = bits(sum);
      for (size_t c = 0; c < 24; ++c) ASSERT_EQ(y[c], whole[size_t(r) * 24 + c]) << r;
      for (size_t c = 0; c < 40; ++c) ASSERT_EQ(s[c], whole[2600 * 24 + size_t(r) * 40 + c]) << r;
    }
  }
}

// The same memory however the rows are divided, which is what a plan counts.
TEST_F(Experts, WhatGroupsTakeIsKnownBeforehand) {
  const auto peak = [](Device& device, int32_t first) {
    const std::vector<int32_t> bounds = {0, first, 700};
    const Tensor at = Tensor::from(bounds, {3}, device);
    const GroupedWeight w(Tensor::zeros({2, 24, 40}, DType::f32, device), WeightForm::packed);
    const Tensor x = Tensor::zeros({700, 40}, DType::f32, device);
    device.reset_peak();
    const Tensor y = grouped_linear_forward(x, w, {at, {}});
    grouped_linear_dgrad(y, w, {at, {}});
    return device.memory().peak_bytes;
  };
  MetaDevice meta(DeviceKind::cpu);
  const auto planned = peak(meta, 0);
  EXPECT_EQ(peak(cpu_, 0), planned);
  EXPECT_EQ(peak(cpu_, 1), planned);
  EXPECT_EQ(peak(cpu_, 333), planned);
}

}  // namespace
}  // namespace elastron::ops
