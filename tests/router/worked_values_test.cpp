// docs/method.md, Worked values: 4 to 7, 9 and 12.
#include <gtest/gtest.h>

#include <cmath>

#include "core/philox.h"
#include "ops/boundary_pool.h"
#include "ops/detail/gate_math.h"
#include "ops/gate.h"
#include "router/attention_router.h"
#include "router/forced_gate.h"
#include "router/objective.h"
#include "router/routed_layer.h"
#include "router/sparsity.h"
#include "router/tau.h"
#include "tests/support/one_pack.h"

namespace elastron::router {
namespace {

const std::vector<std::string> kTasks = {"Single QA", "MultiHop QA", "Summarization", "Code",
                                         "In-Context Learning"};

TEST(RouterSize, ParameterCounts) {
  CpuDevice cpu;
  const auto count = [&](int64_t d, Kind kind, int64_t mult) {
    RouterConfig config;
    config.kind = kind;
    config.task_widths[0] = config.widths[0] = mult;
    AttentionRouter router(0, d, 5, config, DType::f32, 1, true, cpu);
    ParameterList list;
    router.append_parameters(list);
    int64_t n = 0;
    for (const Parameter* p : list) n += p->logical_shape.numel();
    return n;
  };
  EXPECT_EQ(count(128, Kind::softmax, 4), 263682);
  EXPECT_EQ(count(128, Kind::sigmoid, 4), 263553);
  EXPECT_EQ(count(64, Kind::softmax, 4), 66306);
  EXPECT_EQ(count(128, Kind::softmax, 2), 132098);
  EXPECT_EQ(count(128, Kind::softmax, 8), 526850);
}

double pool(const std::vector<double>& keys, bool dedup) {
  CpuDevice cpu;
  const Tensor k = Tensor::from(keys, {int64_t(keys.size()), 1, 1}, cpu);
  return ops::boundary_pool_forward(k, {{0, int64_t(keys.size())}},
                                    {.boundary = true, .budget = 2, .dedup = dedup})
      .to_vector<double>()[0];
}

TEST(BoundaryPooling, Values) {
  EXPECT_DOUBLE_EQ(pool({1, 2, 3, 4, 5}, false), 3.0);
  EXPECT_DOUBLE_EQ(pool({1, 2, 6}, false), 2.75);
  EXPECT_DOUBLE_EQ(pool({1, 2, 6}, true), 3.0);
  EXPECT_DOUBLE_EQ(pool({1, 3}, false), 2.0);
  EXPECT_DOUBLE_EQ(pool({7}, false), 7.0);
  EXPECT_DOUBLE_EQ(pool({}, false), 0.0);
}

TEST(BoundaryPooling, GradientHasMultiplicities) {
  CpuDevice cpu;
  Tensor dk = Tensor::zeros({3, 1, 1}, DType::f64, cpu);
  ops::boundary_pool_backward(Tensor::from(std::vector<double>{1}, {1, 1, 1}, cpu), {{0, 3}},
                              {.boundary = true, .budget = 2}, dk);
  EXPECT_EQ(dk.to_vector<double>(), (std::vector<double>{0.25, 0.5, 0.25}));
}

TEST(PoolSegment, FromRangeIds) {
  const std::vector<int64_t> ranges = {0, 0, 0, 2, 0, 2, 3, 4};
  const auto is = [&](PoolSegmentKind kind, int64_t begin, int64_t end) {
    const auto s = pool_segment(kind, ranges, 10);
    EXPECT_EQ(s.begin, begin);
    EXPECT_EQ(s.end, end);
  };
  is(PoolSegmentKind::first_token, 10, 11);
  is(PoolSegmentKind::ctx, 10, 13);
  is(PoolSegmentKind::q, 10, 13);
  is(PoolSegmentKind::a, 13, 15);
  is(PoolSegmentKind::ctx_q, 10, 13);
}

TEST(Gumbel, Values) {
  EXPECT_NEAR(ops::detail::gumbel_noise(0.3f), -0.185627, 1e-6);
  EXPECT_NEAR(ops::detail::gumbel_noise(0.5f), 0.366513, 1e-6);
  EXPECT_NEAR(ops::detail::gumbel_noise(0.6f), 0.671727, 1e-6);
  EXPECT_NEAR(ops::detail::gumbel_noise(0.0f), -2.913474, 1e-6);
}

TEST(StraightThrough, ProbabilityAndSlope) {
  const double noisy = (-0.1 + 0.671727) - (0.2 - 0.185627);
  EXPECT_NEAR(noisy, 0.557354, 1e-6);
  const double p15 = ops::detail::gate_probability(noisy, 1.5);
  EXPECT_NEAR(p15, 0.635840 - 0.044002, 1e-5);  // 0.591838
  EXPECT_NEAR(ops::detail::gate_slope(p15, 1.5), 0.161044, 1e-6);
  const double p1 = ops::detail::gate_probability(noisy, 1.0);
  EXPECT_NEAR(p1, 0.635840, 1e-6);
  EXPECT_NEAR(ops::detail::gate_slope(p1, 1.0), 0.231547, 1e-6);
  const double ps = ops::detail::gate_probability(0.2 - 0.185627, 1.5);
  EXPECT_NEAR(ps, 0.502396, 1e-6);
  EXPECT_NEAR(ops::detail::gate_slope(ps, 1.5), 0.166663, 1e-6);
}

TEST(GateSample, SharesAtZeroLogits) {
  CpuDevice cpu;
  constexpr int64_t kSequences = 500, kHeads = 40;
  std::vector<uint32_t> keys(kSequences);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = uint32_t(i);
  const auto share = [&](int64_t classes, ops::GateNoise noise) {
    const Tensor logits = Tensor::zeros({kSequences, kHeads, classes}, DType::f32, cpu);
    const auto z = ops::gate_sample(logits, {.seed = 3, .sample_keys = keys, .noise = noise})
                       .gate.to_vector<uint8_t>();
    double sum = 0;
    for (const uint8_t v : z) sum += v;
    return sum / double(z.size());
  };
  // Four standard deviations of 20,000 draws: 0.014.
  EXPECT_NEAR(share(2, ops::GateNoise::gumbel), 0.5, 0.014);
  EXPECT_NEAR(share(1, ops::GateNoise::gumbel), 1 - std::exp(-1.0), 0.014);
  EXPECT_NEAR(share(1, ops::GateNoise::logistic), 0.5, 0.014);
}

TEST(GateSample, NoiseBelongsToTheGlobalHead) {
  CpuDevice cpu;
  std::vector<float> values(3 * 8 * 2);
  const RandomStream random(1, RandomPurpose::test);
  for (size_t i = 0; i < values.size(); ++i) values[i] = random.uniform_at(i);
  const Tensor all = Tensor::from(values, {3, 8, 2}, cpu);
  const std::vector<uint32_t> keys = {5, 6, 70000};
  const auto whole = ops::gate_sample(all, {.seed = 9, .step = 4, .sample_keys = keys, .layer = 2});
  const Tensor half = all.slice(1, 4, 8).clone();
  const auto part = ops::gate_sample(
      half, {.seed = 9, .step = 4, .sample_keys = keys, .layer = 2, .first_kv_head = 4});
  EXPECT_EQ(whole.probability.slice(1, 4, 8).clone().to_vector<float>(),
            part.probability.to_vector<float>());
  EXPECT_EQ(whole.gate.slice(1, 4, 8).clone().to_vector<uint8_t>(), part.gate.to_vector<uint8_t>());
  const auto other_step =
      ops::gate_sample(all, {.seed = 9, .step = 5, .sample_keys = keys, .layer = 2});
  EXPECT_NE(whole.probability.to_vector<float>(), other_step.probability.to_vector<float>());
}

TEST(GateDecide, TiesAreSparse) {
  CpuDevice cpu;
  const Tensor logits = Tensor::from(std::vector<float>{1, 1, 0, 1, 1, 0}, {3, 1, 2}, cpu);
  EXPECT_EQ(ops::gate_decide(logits).gate.to_vector<uint8_t>(), (std::vector<uint8_t>{0, 1, 0}));
}

TEST(Temperature, Schedules) {
  RouterConfig c;
  c.tau_schedule = TauSchedule::cosine;
  EXPECT_NEAR(gate_temperature(c, 0, 300), 1.5, 1e-12);
  EXPECT_NEAR(gate_temperature(c, 60, 300), 1.375, 1e-6);
  EXPECT_NEAR(gate_temperature(c, 90, 300), 1.25, 1e-12);
  EXPECT_NEAR(gate_temperature(c, 180, 300), 1.0, 1e-12);
  c.tau_schedule = TauSchedule::exp_fraction;
  EXPECT_NEAR(gate_temperature(c, 0, 300), 1.5, 1e-12);
  EXPECT_NEAR(gate_temperature(c, 60, 300), 1.33038, 1e-5);
  EXPECT_NEAR(gate_temperature(c, 90, 300), 1.25291, 1e-5);
  EXPECT_NEAR(gate_temperature(c, 180, 300), 1.04651, 1e-5);
  EXPECT_GT(gate_temperature(c, 202, 300), 1.0);
  EXPECT_EQ(gate_temperature(c, 203, 300), 1.0);
  c.tau_schedule = TauSchedule::exp_step;
  EXPECT_EQ(gate_temperature(c, 1, 300), 1.0);
}

class Objective : public ::testing::Test {
 protected:
  test::ObjectiveValue evaluate(DiffKind diff) {
    RegConfig config;
    config.diff = diff;
    objective_ = std::make_unique<SparsityObjective>(config, task_targets(config, kTasks),
                                                     DType::f64, 1, true, cpu_);
    objective_->append_parameters(list_);
    double* l1 = list_[0]->value.data<double>();
    double* l2 = list_[1]->value.data<double>();
    l1[0] = 0.2, l1[3] = 0.4, l2[0] = 0.1, l2[3] = 0.3;
    return test::evaluate_pack(*objective_, std::vector<int32_t>{0, 0, 3},
                               std::vector<double>{0.5, 0.75, 0.5}, 1.0);
  }
  CpuDevice cpu_;
  std::unique_ptr<SparsityObjective> objective_;
  ParameterList list_;
};

void expect_near(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-12) << i;
}

TEST_F(Objective, Absolute) {
  const auto v = evaluate(DiffKind::abs);
  expect_near(v.reg, {0.044, 0.01025, 0.275});
  EXPECT_NEAR(v.value, 0.1510625, 1e-12);
  expect_near(v.d_msr, {-0.06, 0.0525, -0.35});
  expect_near(list_[0]->grad.to_vector<double>(), {0.0625, 0, 0, 0.25, 0});
  expect_near(list_[1]->grad.to_vector<double>(), {0.010625, 0, 0, 0.125, 0});
}

TEST_F(Objective, Signed) {
  const auto v = evaluate(DiffKind::signed_gap);
  EXPECT_NEAR(v.value, -0.0689375, 1e-12);
  expect_near(v.d_msr, {0.04, 0.0525, 0.05});
}

TEST_F(Objective, GradientIsTheDerivative) {
  evaluate(DiffKind::abs);
  const std::vector<int32_t> tasks = {0, 0, 3};
  const std::vector<double> at = {0.41, 0.83, 0.27};
  const auto v = test::evaluate_pack(*objective_, tasks, at, 0.0);
  for (size_t b = 0; b < at.size(); ++b) {
    auto up = at, down = at;
    up[b] += 1e-6;
    down[b] -= 1e-6;
    const double slope = (test::evaluate_pack(*objective_, tasks, up, 0.0).value -
                          test::evaluate_pack(*objective_, tasks, down, 0.0).value) /
                         2e-6;
    EXPECT_NEAR(v.d_msr[b], slope, 1e-8);
  }
}

TEST(Lambdas, StartBelowHalf) {
  CpuDevice cpu;
  RegConfig config;
  const SparsityObjective objective(config, task_targets(config, kTasks), DType::f32, 42, true,
                                    cpu);
  for (const auto& l : {objective.lambda1(), objective.lambda2()}) {
    for (const double v : l) {
      EXPECT_GE(v, 0.0);
      EXPECT_LT(v, 0.5);
    }
  }
  EXPECT_NE(objective.lambda1(), objective.lambda2());
}

TEST(Targets, UnknownTaskIsRefused) {
  RegConfig config;
  config.targets["Poetry"] = 0.5;
  EXPECT_THROW(task_targets(config, kTasks), UsageError);
}

TEST(Sparsity, WorkedValues) {
  // L=2, Hkv=4, z = [[1,0,0,0],[0,1,1,0]]: five of eight sparse, two in the last layer.
  const auto rule = ops::StreamingRule::from_tokens(128, 2048, 64);
  // Of 2 x 4 heads 5 are sparse, 2 of them in the last layer; the others visit all 100 tiles.
  const DocumentHeads heads{
      .sparse = 5, .sparse_last = 2, .visited = 5 * 20 + 3 * 100, .visited_last = 240, .full = 100};
  const auto f =
      sparsity_figures(heads, 2, 4, 4096, {ops::KeySet::full(), ops::KeySet::streaming(rule)});
  EXPECT_DOUBLE_EQ(f.esr_tiles, 0.5);
  EXPECT_DOUBLE_EQ(
      sparsity_figures(heads, 2, 4, 4096, {ops::KeySet::full(), ops::KeySet::blocks({})})
          .esr_last_layer_last_query,
      0.4);
  EXPECT_DOUBLE_EQ(f.msr, 0.625);
  EXPECT_DOUBLE_EQ(f.esr_last_layer_last_query, 0.234375);
  EXPECT_NEAR(skipped_share_area(rule, 4096), 0.2270, 5e-5);
  EXPECT_NEAR(skipped_share_area(rule, 8192), 0.5450, 5e-5);
  EXPECT_NEAR(skipped_share_area(rule, 65536), 0.9356, 5e-5);
  EXPECT_NEAR(skipped_share_area(rule, 262144), 0.9837, 5e-5);
}

TEST(ForcedGates, RandomHasTheSparsityAsked) {
  for (const double msr : {0.0, 0.3, 0.5, 1.0}) {
    int64_t sparse = 0;
    for (const auto& layer : random_static_gates(6, 8, msr, 11)) {
      for (const uint8_t z : layer) sparse += z == 0;
    }
    EXPECT_EQ(sparse, std::llround(msr * 48));
  }
  EXPECT_EQ(random_static_gates(6, 8, 0.5, 11), random_static_gates(6, 8, 0.5, 11));
  EXPECT_NE(random_static_gates(6, 8, 0.5, 11), random_static_gates(6, 8, 0.5, 12));
}

TEST(ForcedGates, Texts) {
  EXPECT_FALSE(parse_force("none", 2, 2).active);
  EXPECT_EQ(parse_force("sparse", 1, 2).gates, (StaticGates{{0, 0}}));
  for (const char* bad :
       {"fully", "random:", "random:0.5", "random:2:1", "random:0.5:x", "random:a:1"}) {
    EXPECT_THROW(parse_force(bad, 2, 2), UsageError) << bad;
  }
  EXPECT_THROW(parse_force("static:/nonexistent.json", 2, 2), InputError);
}

// The router's MLPs, by finite differences in double precision.
TEST(AttentionRouter, GradientsAreTheDerivatives) {
  CpuDevice cpu;
  RouterConfig config;
  config.task_widths[0] = config.widths[0] = 2;
  config.init_std = 0.5;
  AttentionRouter router(0, 6, 5, config, DType::f64, 5, true, cpu);
  ParameterList list;
  router.append_parameters(list);
  const RandomStream random(2, RandomPurpose::test);
  std::vector<double> x(3 * 2 * 6), weight(3 * 2 * 2);
  for (size_t i = 0; i < x.size(); ++i) x[i] = random.normal_at(i);
  for (size_t i = 0; i < weight.size(); ++i) weight[i] = random.normal_at(1000 + i);
  Tensor pooled = Tensor::from(x, {3, 2, 6}, cpu);
  const auto loss = [&] {
    const auto y = router.forward(pooled, nullptr).to_vector<double>();
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * weight[i];
    return sum;
  };
  SavedRouter saved;
  router.forward(pooled, &saved);
  const Tensor dx = router.backward(Tensor::from(weight, {3, 2, 2}, cpu), saved);
  const auto check = [&](Tensor& values, const Tensor& gradient, const std::string& name) {
    for (int64_t i = 0; i < values.numel(); ++i) {
      double& v = values.data<double>()[i];
      const double keep = v;
      v = keep + 1e-6;
      const double up = loss();
      v = keep - 1e-6;
      const double down = loss();
      v = keep;
      ASSERT_NEAR(gradient.data<double>()[i], (up - down) / 2e-6, 1e-7) << name << " " << i;
    }
  };
  check(pooled, dx, "input");
  for (Parameter* p : list) check(p->value, p->grad, p->name);
}

}  // namespace
}  // namespace elastron::router
