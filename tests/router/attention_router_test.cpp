// The router's parameters and what they start as (docs/method.md, Router network and
// Initialisation), and that a row of logits depends on nothing but its own head.
#include "router/attention_router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ops/elementwise.h"
#include "ops/gate.h"
#include "tests/support/gradcheck.h"

namespace elastron::router {
namespace {

using test::random_tensor;

ParameterList parameters_of(AttentionRouter& router) {
  ParameterList list;
  router.append_parameters(list);
  return list;
}

TEST(RouterParameters, NamesShapesAndFlags) {
  CpuDevice cpu;
  AttentionRouter router(3, 8, 5, {}, DType::f32, 1, true, cpu);
  const std::vector<std::pair<std::string, Shape>> want = {
      {"task.0.weight", {32, 8}},   {"task.0.bias", {32}},        {"task.2.weight", {8, 32}},
      {"task.2.bias", {8}},         {"router.0.weight", {32, 8}}, {"router.0.bias", {32}},
      {"router.2.weight", {8, 32}}, {"router.2.bias", {8}},       {"router.4.weight", {2, 8}},
      {"router.4.bias", {2}}};
  const auto list = parameters_of(router);
  ASSERT_EQ(list.size(), want.size());
  for (size_t i = 0; i < list.size(); ++i) {
    EXPECT_EQ(list[i]->name, "router.layers.3." + want[i].first);
    EXPECT_EQ(list[i]->logical_shape, want[i].second) << list[i]->name;
    EXPECT_TRUE(list[i]->partition.replicated());
    EXPECT_EQ(list[i]->group, ParameterGroup::router);
    EXPECT_TRUE(list[i]->trainable && list[i]->gradient_partial_over_tensor);
    EXPECT_FALSE(list[i]->maximize);
    EXPECT_EQ(list[i]->master.raw(), list[i]->value.raw());
    EXPECT_EQ(list[i]->grad.shape(), want[i].second);
  }
}

TEST(RouterParameters, FrozenHasNoGradient) {
  CpuDevice cpu;
  AttentionRouter router(0, 8, 5, {}, DType::f32, 1, false, cpu);
  for (const Parameter* p : parameters_of(router)) {
    EXPECT_FALSE(p->trainable);
    EXPECT_FALSE(p->grad.defined());
  }
}

// Mean and spread of a weight within four standard errors of N(0, std^2).
void expect_normal(const Parameter& p, double std) {
  const auto w = p.value.to_vector<float>();
  double sum = 0, squares = 0;
  for (const float x : w) {
    sum += x;
    squares += double(x) * x;
  }
  const double n = double(w.size());
  EXPECT_NEAR(sum / n, 0.0, 4 * std / std::sqrt(n)) << p.name;
  EXPECT_NEAR(std::sqrt(squares / n), std, 4 * std / std::sqrt(2 * n)) << p.name;
}

TEST(RouterInit, Normal) {
  CpuDevice cpu;
  AttentionRouter router(0, 64, 5, {}, DType::f32, 7, true, cpu);
  for (const Parameter* p : parameters_of(router)) {
    if (p->name.ends_with("weight")) {
      expect_normal(*p, 0.02);
    } else {
      for (const float b : p->value.to_vector<float>()) EXPECT_EQ(b, 0.0f);
    }
  }
}

TEST(RouterInit, Kaiming) {
  CpuDevice cpu;
  AttentionRouter router(0, 64, 5, {.init = Init::kaiming}, DType::f32, 7, true, cpu);
  for (const Parameter* p : parameters_of(router)) {
    const auto values = p->value.to_vector<float>();
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    if (p->name.find("task.") != std::string::npos && p->name.ends_with("weight")) {
      expect_normal(*p, 0.02);  // the task MLP keeps its normal start
    } else if (p->name.ends_with("router.4.weight")) {
      EXPECT_TRUE(*low == 0 && *high == 0);
    } else if (p->name.ends_with("router.4.bias")) {
      EXPECT_TRUE(*low == 1 && *high == 1);
    } else if (p->name.ends_with("weight")) {
      const double bound = 1 / std::sqrt(double(p->logical_shape[1]));
      EXPECT_GE(*low, -bound);
      EXPECT_LE(*high, bound);
      EXPECT_LT(*low, -0.99 * bound);
      EXPECT_GT(*high, 0.99 * bound);
    } else {
      EXPECT_TRUE(*low == 0 && *high == 0) << p->name;
    }
  }
}

TEST(RouterInit, DependsOnSeedLayerAndTensorOnly) {
  CpuDevice cpu;
  AttentionRouter a(0, 16, 5, {}, DType::f32, 7, true, cpu),
      same(0, 16, 5, {}, DType::f32, 7, true, cpu), wide(0, 16, 5, {}, DType::f64, 7, true, cpu),
      layer(1, 16, 5, {}, DType::f32, 7, true, cpu), seed(0, 16, 5, {}, DType::f32, 8, true, cpu);
  const auto weights = [](AttentionRouter& r, size_t i) {
    return ops::cast(parameters_of(r)[i]->value, DType::f32).to_vector<float>();
  };
  for (const size_t i : {0u, 2u, 4u, 6u, 8u}) {
    EXPECT_EQ(weights(a, i), weights(same, i));
    EXPECT_EQ(weights(a, i), weights(wide, i));
    EXPECT_NE(weights(a, i), weights(layer, i));
    EXPECT_NE(weights(a, i), weights(seed, i));
  }
  EXPECT_NE(weights(a, 0), weights(a, 4));  // two weights of one shape
}

// Share of full heads that a fresh router draws on keys of unit scale (RMS-normed): the measured
// MSR starts between 0.49 and 0.51 with softmax; kaiming with one logit gives 1 - exp(-e).
TEST(RouterInit, FirstDecisions) {
  CpuDevice cpu;
  constexpr int64_t kSequences = 3000, kHeads = 8;
  std::vector<uint32_t> keys(kSequences);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = uint32_t(i);
  const Tensor pooled = random_tensor({kSequences, kHeads, 32}, DType::f32, cpu, 3);
  const auto share = [&](const RouterConfig& config) {
    const AttentionRouter router(0, 32, 5, config, DType::f32, 11, true, cpu);
    const auto z =
        ops::gate_sample(router.forward(pooled, nullptr), {.seed = 5, .sample_keys = keys})
            .gate.to_vector<uint8_t>();
    return double(std::count(z.begin(), z.end(), 1)) / double(z.size());
  };
  // 24,000 draws: four standard deviations are below 0.013; the second, 0.0065.
  EXPECT_NEAR(share({}), 0.5, 0.013);
  EXPECT_NEAR(share({.init = Init::kaiming}), 0.5, 0.013);
  EXPECT_NEAR(share({.kind = Kind::sigmoid, .init = Init::kaiming}), 0.934, 0.0065);
}

// What a head gets depends on no other row: heads are split over tensor-parallel ranks, documents
// over micro batches. In float64 and float32, to the bit.
TEST(RouterRows, AreIndependent) {
  CpuDevice cpu;
  constexpr int64_t kHeads = 8;
  const auto bits = [](const Tensor& t) { return ops::cast(t, DType::f64).to_vector<double>(); };
  for (const auto& [dtype, sequences, dim] :
       {std::tuple{DType::f64, 3, 16}, {DType::f32, 1, 128}, {DType::f32, 3, 64}}) {
    const RouterConfig config{.init_std = 0.2};
    const AttentionRouter router(0, dim, 5, config, dtype, 4, true, cpu);
    const Tensor pooled = random_tensor({sequences, kHeads, dim}, dtype, cpu, 6);
    const Tensor whole = router.forward(pooled, nullptr);
    for (const int64_t each : {1, 2, 4}) {
      for (int64_t h = 0; h < kHeads; h += each) {
        const Tensor part = router.forward(pooled.slice(1, h, h + each).clone(), nullptr);
        EXPECT_EQ(bits(part), bits(whole.slice(1, h, h + each).clone()))
            << dtype_name(dtype) << " " << sequences << " sequences, heads " << h << "+" << each;
      }
    }
  }
}

TEST(RouterBackward, LeavesTheInputOutWhenAsked) {
  CpuDevice cpu;
  const RouterConfig config{.task_widths = {2, 1}, .widths = {2, 1}, .init_std = 0.3};
  AttentionRouter with(0, 8, 5, config, DType::f32, 4, true, cpu),
      without(0, 8, 5, config, DType::f32, 4, true, cpu);
  const Tensor pooled = random_tensor({2, 3, 8}, DType::f32, cpu, 6);
  const Tensor d = random_tensor({2, 3, 2}, DType::f32, cpu, 7);
  SavedRouter a, b;
  with.forward(pooled, &a);
  without.forward(pooled, &b);
  EXPECT_TRUE(with.backward(d, a).defined());
  EXPECT_FALSE(without.backward(d, b, false).defined());
  const auto p = parameters_of(with), q = parameters_of(without);
  for (size_t i = 0; i < p.size(); ++i) {
    EXPECT_EQ(p[i]->grad.to_vector<float>(), q[i]->grad.to_vector<float>());
  }
}

TEST(RouterBackward, Accumulates) {
  CpuDevice cpu;
  const RouterConfig config{.task_widths = {2, 1}, .widths = {2, 1}, .init_std = 0.3};
  AttentionRouter router(0, 8, 5, config, DType::f64, 4, true, cpu);
  const Tensor pooled = random_tensor({2, 3, 8}, DType::f64, cpu, 6);
  const Tensor d = random_tensor({2, 3, 2}, DType::f64, cpu, 7);
  SavedRouter saved;
  router.forward(pooled, &saved);
  router.backward(d, saved);
  std::vector<std::vector<double>> once;
  for (const Parameter* p : parameters_of(router)) once.push_back(p->grad.to_vector<double>());
  router.backward(d, saved);
  const auto list = parameters_of(router);
  for (size_t i = 0; i < list.size(); ++i) {
    const auto twice = list[i]->grad.to_vector<double>();
    for (size_t e = 0; e < twice.size(); ++e) EXPECT_NEAR(twice[e], 2 * once[i][e], 1e-14);
  }
}

TEST(RouterDType, RoundedRouterUnderADoubleModelIsRefused) {
  CpuDevice cpu;
  const RouterConfig config{.dtype = RouterDType::bfloat16};
  EXPECT_THROW(AttentionRouter(0, 8, 5, config, DType::f64, 1, true, cpu), UsageError);
}

}  // namespace
}  // namespace elastron::router
