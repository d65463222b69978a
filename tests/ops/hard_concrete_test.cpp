// The hard-concrete gate: values and gradients of PyTorch (tests/fixtures/hard_concrete), finite
// differences, shares against the closed form, and what the noise depends on.
#include "ops/hard_concrete.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/file/safetensors.h"
#include "ops/elementwise.h"
#include "tests/support/gradcheck.h"
#include "tests/support/sample_keys.h"

namespace elastron::ops {
namespace {

using test::dot;
using test::expect_gradient;
using test::keys_from;
using test::random_tensor;

Tensor of(const std::vector<double>& values, Device& device) {
  return Tensor::from(values, {int64_t(values.size())}, device);
}

class HardConcreteFixture : public ::testing::TestWithParam<const char*> {};

TEST_P(HardConcreteFixture, ValuesAndGradient) {
  CpuDevice cpu;
  const SafetensorsFile file(std::string(ELASTRON_TEST_FIXTURES) + "/hard_concrete/" + GetParam() +
                             ".safetensors");
  const auto read = [&](const char* name) { return file.read(name, cpu).to_vector<double>(); };
  const auto settings = read("settings");
  const HardConcrete rule{.beta = settings[4], .gamma = settings[5], .zeta = settings[6]};
  std::vector<uint32_t> keys;
  for (const double key : read("sample_keys")) keys.push_back(uint32_t(key));
  const GateSampling sampling{.seed = uint64_t(settings[0]),
                              .step = uint32_t(settings[1]),
                              .sample_keys = keys,
                              .layer = uint32_t(settings[2]),
                              .first_kv_head = uint32_t(settings[3])};
  const Tensor log_alpha = file.read("log_alpha", cpu), c = file.read("c", cpu);
  const auto want = read("sampled"), want_decided = read("decided"), want_d = read("d_log_alpha");
  for (const DType dtype : {DType::f64, DType::f32}) {
    // The noise is drawn in float.
    const auto expect = [&](const Tensor& got, const std::vector<double>& wanted,
                            double tolerance) {
      const auto values = cast(got, DType::f64).to_vector<double>();
      ASSERT_EQ(values.size(), wanted.size());
      for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], wanted[i], tolerance) << i;
    };
    const auto out = hard_concrete_sample(cast(log_alpha, dtype), rule, sampling);
    expect(out.probability, want, 2e-6);
    const auto z = out.gate.to_vector<uint8_t>();
    int clamped = 0;
    for (size_t i = 0; i < z.size(); ++i) {
      EXPECT_EQ(z[i], want[i] > 0.5 ? 1 : 0) << i;
      clamped += want[i] == 0 || want[i] == 1;
    }
    EXPECT_GT(clamped, 5);
    EXPECT_LT(clamped, int(z.size()) - 5);
    Tensor d = Tensor::zeros(log_alpha.shape(), dtype, cpu);
    hard_concrete_backward(cast(c, dtype), out.probability, rule, d);
    expect(d, want_d, 1e-5);
    expect(hard_concrete_decide(cast(log_alpha, dtype), rule, 1).probability, want_decided, 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, HardConcreteFixture, ::testing::Values("prulong", "uneven"),
                         [](const auto& test) { return std::string(test.param); });

TEST(HardConcrete, GradientIsTheDerivativeOfTheValue) {
  CpuDevice cpu;
  const auto keys = keys_from(5, 40);
  const Tensor log_alpha = random_tensor({6}, DType::f64, cpu, 1);
  const Tensor d_gate = random_tensor({40, 6}, DType::f64, cpu, 2);
  const HardConcrete rule;
  const GateSampling sampling{.seed = 3, .step = 8, .sample_keys = keys, .layer = 2};
  Tensor d = Tensor::zeros({6}, DType::f64, cpu);
  hard_concrete_backward(d_gate, hard_concrete_sample(log_alpha, rule, sampling).probability, rule,
                         d);
  expect_gradient(
      log_alpha, d,
      [&] { return dot(hard_concrete_sample(log_alpha, rule, sampling).probability, d_gate); },
      "log_alpha");
  // It is added to what is there.
  Tensor twice = d.clone();
  hard_concrete_backward(d_gate, hard_concrete_sample(log_alpha, rule, sampling).probability, rule,
                         twice);
  for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(twice.data<double>()[i], 2 * d.data<double>()[i]);
}

// 40,000 draws each: four standard deviations are below 0.01.
TEST(HardConcrete, Shares) {
  CpuDevice cpu;
  const auto keys = keys_from(0, 40000);
  const std::vector<double> log_alpha = {4.0, 1.0, 0.0, -0.6, -3.0};
  for (const HardConcrete& rule :
       {HardConcrete{}, HardConcrete{.beta = 0.4, .gamma = -0.3, .zeta = 1.05}}) {
    const auto out =
        hard_concrete_sample(of(log_alpha, cpu), rule, {.seed = 4, .sample_keys = keys});
    const auto z = out.gate.to_vector<uint8_t>();
    const auto v = out.probability.to_vector<double>();
    std::vector<double> full(5, 0.0), zero(5, 0.0);
    for (size_t i = 0; i < z.size(); ++i) {
      full[i % 5] += z[i] / 40000.0;
      zero[i % 5] += v[i] == 0 ? 1 / 40000.0 : 0.0;
    }
    const auto sigma = [](double x) { return 1 / (1 + std::exp(-x)); };
    for (size_t h = 0; h < 5; ++h) {
      EXPECT_NEAR(full[h], sigma(log_alpha[h] - rule.threshold()), 0.01) << h;
      // The L0 term of Louizos et al.: P(v > 0).
      EXPECT_NEAR(1 - zero[h], sigma(log_alpha[h] - rule.beta * std::log(-rule.gamma / rule.zeta)),
                  0.01)
          << h;
    }
  }
}

TEST(HardConcrete, WithoutNoiseATieIsSparse) {
  CpuDevice cpu;
  const auto decided = [&](const HardConcrete& rule, double log_alpha, DType dtype) {
    return hard_concrete_decide(cast(of({log_alpha}, cpu), dtype), rule, 1)
        .gate.to_vector<uint8_t>()[0];
  };
  for (const DType dtype : {DType::f64, DType::f32}) {
    EXPECT_EQ(decided({}, 0, dtype), 0);
    EXPECT_EQ(decided({}, 1e-12, dtype), 1);
    EXPECT_EQ(decided({}, -1e-12, dtype), 0);
    const HardConcrete uneven{.beta = 0.4, .gamma = -0.3, .zeta = 1.05};
    EXPECT_EQ(decided(uneven, uneven.threshold() + 1e-5, dtype), 1);
    EXPECT_EQ(decided(uneven, uneven.threshold() - 1e-5, dtype), 0);
  }
  const auto all = hard_concrete_decide(of({3, -3}, cpu), {}, 3);
  EXPECT_EQ(all.gate.to_vector<uint8_t>(), (std::vector<uint8_t>{1, 0, 1, 0, 1, 0}));
}

TEST(HardConcrete, SameForAnyPartition) {
  CpuDevice cpu;
  constexpr int64_t kHeads = 8;
  const auto keys = keys_from(1000, 5);
  const Tensor log_alpha = random_tensor({kHeads}, DType::f32, cpu, 4);
  const GateSampling sampling{.seed = 9, .step = 3, .sample_keys = keys, .layer = 1};
  const auto whole = hard_concrete_sample(log_alpha, {}, sampling);
  for (const int64_t each : {1, 2, 4}) {
    for (int64_t first = 0; first < kHeads; first += each) {
      GateSampling local = sampling;
      local.first_kv_head = uint32_t(first);
      const auto part =
          hard_concrete_sample(log_alpha.slice(0, first, first + each).clone(), {}, local);
      EXPECT_EQ(part.probability.to_vector<float>(),
                whole.probability.slice(1, first, first + each).to_vector<float>());
      EXPECT_EQ(part.gate.to_vector<uint8_t>(),
                whole.gate.slice(1, first, first + each).to_vector<uint8_t>());
    }
  }
  for (int64_t s = 0; s < 5; ++s) {
    GateSampling one = sampling;
    one.sample_keys = std::span(keys).subspan(size_t(s), 1);
    EXPECT_EQ(hard_concrete_sample(log_alpha, {}, one).probability.to_vector<float>(),
              whole.probability.slice(0, s, s + 1).to_vector<float>());
  }
}

TEST(HardConcrete, LargeLogAlphasStayFinite) {
  CpuDevice cpu;
  const auto keys = keys_from(0, 3);
  const Tensor log_alpha = cast(of({1e6, -1e6}, cpu), DType::f32);
  const auto out = hard_concrete_sample(log_alpha, {}, {.sample_keys = keys});
  EXPECT_EQ(out.probability.to_vector<float>(), (std::vector<float>{1, 0, 1, 0, 1, 0}));
  Tensor d = Tensor::zeros({2}, DType::f32, cpu);
  const Tensor ones = Tensor::from(std::vector<float>(6, 1.0f), {3, 2}, cpu);
  hard_concrete_backward(ones, out.probability, {}, d);
  EXPECT_EQ(d.to_vector<float>(), (std::vector<float>{0, 0}));
}

}  // namespace
}  // namespace elastron::ops
