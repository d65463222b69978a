// The hard gate and its straight-through gradient (docs/method.md, Stochastic gate): the numbers of
// docs/method.md, Worked values, 6 through the whole op, finite differences of the soft gate,
// shares, and what the noise depends on.
#include "ops/gate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/philox.h"
#include "ops/detail/gate_math.h"
#include "ops/elementwise.h"
#include "tests/support/gradcheck.h"
#include "tests/support/sample_keys.h"

namespace elastron::ops {
namespace {

using test::dot;
using test::expect_gradient;
using test::keys_from;
using test::random_tensor;

double share_full(const GateOutput& out) {
  double sum = 0;
  const auto z = out.gate.to_vector<uint8_t>();
  for (const uint8_t v : z) sum += v;
  return sum / double(z.size());
}

TEST(GateNoise, RangeInFloat) {
  // docs/method.md, Stochastic gate: g lies in about [-2.913, 16.5] for u in [0, 1 - 2^-24].
  EXPECT_NEAR(detail::gumbel_noise(0.0f), -2.913474, 1e-6);
  EXPECT_NEAR(detail::gumbel_noise(1.0f - 0x1p-24f), 16.5, 0.05);
  EXPECT_TRUE(std::isfinite(detail::logistic_noise(0.0f)));
  EXPECT_TRUE(std::isfinite(detail::logistic_noise(1.0f - 0x1p-24f)));
  EXPECT_NEAR(detail::logistic_noise(0.25f), -detail::logistic_noise(0.75f), 1e-6);
}

// Element by element: which random number goes where, and what is made of it.
TEST(GateSample, IsTheFormula) {
  CpuDevice cpu;
  constexpr int64_t kSequences = 4, kHeads = 3;
  constexpr uint32_t kStep = 17, kLayer = 5, kFirstHead = 6;
  constexpr uint64_t kSeed = 0x123456789abcdefull;
  const auto keys = keys_from(40, kSequences);
  for (const int64_t classes : {int64_t(1), int64_t(2)}) {
    const Tensor logits = random_tensor({kSequences, kHeads, classes}, DType::f64, cpu, 1);
    const double tau = 1.3;
    const auto out = gate_sample(logits, {.seed = kSeed,
                                          .step = kStep,
                                          .sample_keys = keys,
                                          .layer = kLayer,
                                          .first_kv_head = kFirstHead,
                                          .tau = tau});
    const auto z = out.gate.to_vector<uint8_t>();
    const auto p = out.probability.to_vector<double>(), l = logits.to_vector<double>();
    for (int64_t s = 0; s < kSequences; ++s) {
      for (int64_t h = 0; h < kHeads; ++h) {
        const RandomStream stream(kSeed, RandomPurpose::gate_noise, kStep, keys[size_t(s)],
                                  kLayer << 16 | (kFirstHead + uint32_t(h)));
        const auto g = [&](uint64_t c) {
          const double u = double(stream.uniform_at(c));
          return -std::log(-std::log(u + 1e-8) + 1e-8);
        };
        const auto i = size_t(s * kHeads + h);
        const double noisy = classes == 2 ? l[2 * i + 1] + g(1) - l[2 * i] - g(0) : l[i] + g(0);
        EXPECT_NEAR(p[i], 1 / (1 + std::exp(-noisy / tau)), 1e-6);
        EXPECT_EQ(z[i], noisy > 0 ? 1 : 0);
        EXPECT_EQ(z[i], p[i] > 0.5 ? 1 : 0);
      }
    }
  }
}

// Temperature scales the gradient; it never changes the decision (docs/method.md, Stochastic gate).
TEST(GateSample, DecisionDoesNotDependOnTemperature) {
  CpuDevice cpu;
  const Tensor logits = random_tensor({50, 4, 2}, DType::f32, cpu, 2);
  const auto keys = keys_from(0, 50);
  const auto cold = gate_sample(logits, {.seed = 1, .sample_keys = keys, .tau = 0.3});
  const auto warm = gate_sample(logits, {.seed = 1, .sample_keys = keys, .tau = 3.0});
  EXPECT_EQ(cold.gate.to_vector<uint8_t>(), warm.gate.to_vector<uint8_t>());
  EXPECT_NE(cold.probability.to_vector<float>(), warm.probability.to_vector<float>());
}

// P(z = 1): softmax sigma(l1 - l0); one logit with Gumbel noise 1 - exp(-exp(l)); with logistic
// noise sigma(l). docs/method.md, Stochastic gate. 60,000 draws: four standard deviations are below
// 0.0082.
TEST(GateSample, Shares) {
  CpuDevice cpu;
  constexpr int64_t kSequences = 6000, kHeads = 10;
  const auto keys = keys_from(0, kSequences);
  const auto share = [&](std::vector<float> logit, GateNoise noise) {
    std::vector<float> values;
    for (int64_t i = 0; i < kSequences * kHeads; ++i) {
      values.insert(values.end(), logit.begin(), logit.end());
    }
    const Tensor logits = Tensor::from(values, {kSequences, kHeads, int64_t(logit.size())}, cpu);
    return share_full(
        gate_sample(logits, {.seed = 77, .sample_keys = keys, .layer = 3, .noise = noise}));
  };
  const auto sigma = [](double x) { return 1 / (1 + std::exp(-x)); };
  EXPECT_NEAR(share({0, 0}, GateNoise::gumbel), 0.5, 0.0082);
  EXPECT_NEAR(share({0.3f, 1.1f}, GateNoise::gumbel), sigma(0.8), 0.0082);
  EXPECT_NEAR(share({0}, GateNoise::gumbel), 0.632, 0.0082);
  EXPECT_NEAR(share({1}, GateNoise::gumbel), 0.934, 0.0082);
  EXPECT_NEAR(share({-0.7f}, GateNoise::gumbel), 1 - std::exp(-std::exp(-0.7)), 0.0082);
  EXPECT_NEAR(share({0}, GateNoise::logistic), 0.5, 0.0082);
  EXPECT_NEAR(share({0.8f}, GateNoise::logistic), sigma(0.8), 0.0082);
}

// Any partition of the heads, and any partition of the documents, sees the same noise.
TEST(GateSample, SameForAnyPartition) {
  CpuDevice cpu;
  constexpr int64_t kSequences = 5, kHeads = 8;
  const auto keys = keys_from(1000, kSequences);
  const Tensor logits = random_tensor({kSequences, kHeads, 2}, DType::f32, cpu, 4);
  const GateSampling sampling{.seed = 9, .step = 3, .sample_keys = keys, .layer = 1, .tau = 1.2};
  const auto whole = gate_sample(logits, sampling);
  for (const int64_t parts : {2, 4, 8}) {
    const int64_t each = kHeads / parts;
    for (int64_t part = 0; part < parts; ++part) {
      GateSampling local = sampling;
      local.first_kv_head = uint32_t(part * each);
      const auto out = gate_sample(logits.slice(1, part * each, (part + 1) * each).clone(), local);
      EXPECT_EQ(out.probability.to_vector<float>(),
                whole.probability.slice(1, part * each, (part + 1) * each).to_vector<float>());
      EXPECT_EQ(out.gate.to_vector<uint8_t>(),
                whole.gate.slice(1, part * each, (part + 1) * each).to_vector<uint8_t>());
    }
  }
  for (int64_t s = 0; s < kSequences; ++s) {
    GateSampling one = sampling;
    one.sample_keys = std::span(keys).subspan(size_t(s), 1);
    EXPECT_EQ(gate_sample(logits.slice(0, s, s + 1), one).probability.to_vector<float>(),
              whole.probability.slice(0, s, s + 1).to_vector<float>());
  }
}

TEST(GateSample, EveryCoordinateGivesOtherNoise) {
  CpuDevice cpu;
  const Tensor logits = Tensor::zeros({1, 1, 2}, DType::f64, cpu);
  std::set<double> seen;
  int drawn = 0;
  for (const uint64_t seed : {1ull, 2ull, 1ull << 40}) {
    for (const uint32_t step : {0u, 1u}) {
      for (const uint32_t key : {0u, 1u, 70000u}) {
        for (const uint32_t layer : {0u, 1u}) {
          for (const uint32_t head : {0u, 1u}) {
            const uint32_t keys[] = {key};
            seen.insert(gate_sample(logits, {.seed = seed,
                                             .step = step,
                                             .sample_keys = keys,
                                             .layer = layer,
                                             .first_kv_head = head})
                            .probability.to_vector<double>()[0]);
            ++drawn;
          }
        }
      }
    }
  }
  EXPECT_EQ(int(seen.size()), drawn);
}

TEST(GateBackward, IsTheDerivativeOfTheSoftGate) {
  CpuDevice cpu;
  const auto keys = keys_from(3, 6);
  for (const int64_t classes : {int64_t(1), int64_t(2)}) {
    for (const double tau : {0.5, 1.0, 1.5}) {
      const Tensor logits = random_tensor({6, 4, classes}, DType::f64, cpu, 5);
      const Tensor d_gate = random_tensor({6, 4}, DType::f64, cpu, 6);
      const GateSampling sampling{.seed = 8, .step = 2, .sample_keys = keys, .tau = tau};
      const auto out = gate_sample(logits, sampling);
      const Tensor d_logits = gate_backward(d_gate, out.probability, classes, tau);
      expect_gradient(
          logits, d_logits, [&] { return dot(gate_sample(logits, sampling).probability, d_gate); },
          "logits");
    }
  }
}

// docs/method.md, Worked values, 6, from the probabilities on; tests/router/worked_values_test.cpp
// has the way to them.
TEST(GateBackward, WorkedValues) {
  CpuDevice cpu;
  const auto slope = [&](int64_t classes, double p, double tau) {
    const Tensor one = Tensor::from(std::vector<double>{1}, {1, 1}, cpu);
    const Tensor probability = Tensor::from(std::vector<double>{p}, {1, 1}, cpu);
    return gate_backward(one, probability, classes, tau).to_vector<double>();
  };
  EXPECT_NEAR(slope(2, 0.591838, 1.5)[1], 0.161044, 1e-6);
  EXPECT_NEAR(slope(2, 0.591838, 1.5)[0], -0.161044, 1e-6);
  EXPECT_NEAR(slope(2, 0.635840, 1.0)[1], 0.231547, 1e-6);
  EXPECT_NEAR(slope(1, 0.502396, 1.5)[0], 0.166663, 1e-6);
}

TEST(GateDecide, HasNoNoiseAndTiesAreSparse) {
  CpuDevice cpu;
  const Tensor two =
      Tensor::from(std::vector<float>{1, 1, 0, 1e-6f, 1e-6f, 0, -3, -2}, {4, 1, 2}, cpu);
  EXPECT_EQ(gate_decide(two).gate.to_vector<uint8_t>(), (std::vector<uint8_t>{0, 1, 0, 1}));
  const Tensor one = Tensor::from(std::vector<double>{0, 1e-12, -1e-12}, {3, 1, 1}, cpu);
  EXPECT_EQ(gate_decide(one).gate.to_vector<uint8_t>(), (std::vector<uint8_t>{0, 1, 0}));
}

TEST(Gate, LargeLogitsStayFinite) {
  CpuDevice cpu;
  const uint32_t keys[] = {0};
  for (const float l : {1e4f, -1e4f}) {
    const Tensor logits = Tensor::from(std::vector<float>{-l, l}, {1, 1, 2}, cpu);
    const auto out = gate_sample(logits, {.seed = 1, .sample_keys = keys, .tau = 0.5});
    EXPECT_EQ(out.probability.to_vector<float>()[0], l > 0 ? 1.0f : 0.0f);
    EXPECT_EQ(out.gate.to_vector<uint8_t>()[0], l > 0 ? 1 : 0);
    const Tensor dz = Tensor::from(std::vector<float>{1}, {1, 1}, cpu);
    for (const float d : gate_backward(dz, out.probability, 2, 0.5).to_vector<float>()) {
      EXPECT_EQ(d, 0.0f);
    }
  }
}

}  // namespace
}  // namespace elastron::ops
