// What the `router` section accepts, gates that no router decides, the objective's settings, and
// the temperature over a whole run.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <numbers>
#include <set>

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

RouterConfig load(const std::vector<std::string>& overrides) {
  return config::load_config<RouterConfig>({}, overrides);
}
// The message of the refusal, "" when there is none.
std::string refusal(const std::vector<std::string>& overrides) {
  try {
    load(overrides);
    return "";
  } catch (const UsageError& e) {
    return e.what();
  }
}

TEST(RouterSection, DefaultsAreThePapers) {
  const RouterConfig c = load({});
  EXPECT_EQ(c.kind, Kind::softmax);
  EXPECT_EQ(c.pool, Pool::boundary);
  EXPECT_EQ(c.pool_segment, PoolSegmentKind::ctx_q);
  EXPECT_EQ(c.pool_budget, 100);
  EXPECT_EQ(c.task_widths, (std::vector<int64_t>{4, 1}));
  EXPECT_EQ(c.widths, c.task_widths);
  EXPECT_EQ(c.init, Init::normal);
  EXPECT_EQ(c.init_std, 0.02);
  EXPECT_FALSE(c.detach_input || c.pool_dedup);
  EXPECT_EQ(c.tau_schedule, TauSchedule::exp_fraction);
  EXPECT_EQ(c.tau.init, 1.5);
  EXPECT_EQ(c.tau.min, 1.0);
  EXPECT_EQ(c.tau.rate, 0.6);
  EXPECT_EQ(c.ssa.sink, 128);
  EXPECT_EQ(c.ssa.local, 2048);
  EXPECT_EQ(c.ssa.block, 64);
  EXPECT_EQ(c.reg.t_sen, 0.7);
  EXPECT_EQ(c.reg.t_rob, 1.0);
  EXPECT_EQ(c.reg.diff, DiffKind::abs);
  EXPECT_FALSE(c.reg.lambda_clamp.has_value());
  const auto rule = c.streaming_rule();
  EXPECT_EQ(rule.sink_blocks, 2);
  EXPECT_EQ(rule.local_blocks, 32);
}

TEST(RouterSection, ReferenceVariants) {
  const RouterConfig c =
      load({"kind=sigmoid", "noise=logistic", "pool=mean", "pool_segment=first_token",
            "init=kaiming", "tau_schedule=cosine", "ssa.block=128", "reg.diff=signed",
            "reg.targets.Code=0.4", "reg.lambda_clamp=1.5", "detach_input=true", "dtype=bfloat16"});
  EXPECT_EQ(c.kind, Kind::sigmoid);
  EXPECT_EQ(c.classes(), 1);
  EXPECT_EQ(c.noise, Noise::logistic);
  EXPECT_EQ(c.pool_segment, PoolSegmentKind::first_token);
  EXPECT_EQ(c.reg.diff, DiffKind::signed_gap);
  EXPECT_EQ(c.reg.targets.at("Code"), 0.4);
  EXPECT_EQ(c.reg.lambda_clamp, 1.5);
  EXPECT_EQ(c.dtype, RouterDType::bfloat16);
  EXPECT_EQ(c.streaming_rule().local_blocks, 16);
}

TEST(RouterSection, ContradictionsAndNonsenseAreRefused) {
  EXPECT_NE(refusal({"noise=logistic"}).find("noise"), std::string::npos);
  EXPECT_EQ(refusal({"noise=logistic", "kind=sigmoid"}), "");
  EXPECT_NE(refusal({"tau.min=2"}).find("tau.min"), std::string::npos);
  EXPECT_EQ(refusal({"tau.min=2", "tau_schedule=constant"}), "");
  EXPECT_NE(refusal({"tau_schedule=learned"}), "");
  EXPECT_EQ(refusal({"tau_schedule=learned", "tau.init=0.7"}), "");
  for (const char* bad : {"ssa.local=0", "ssa.sink=-1", "ssa.block=0", "pool_budget=0",
                          "hidden_mult=0", "reg.t_sen=1.5", "tau.init=0", "kind=hard",
                          "reg.lambda_clamp=0", "mode=xa-fa", "pool_segment=answer"}) {
    EXPECT_NE(refusal({bad}), "") << bad;
  }
}

TEST(Targets, ByTask) {
  RegConfig config;
  config.t_sen = 0.6;
  config.targets["Summarization"] = 0.9;
  EXPECT_EQ(task_targets(config, kTasks), (std::vector<double>{0.6, 0.6, 0.9, 1.0, 1.0}));
  config.targets["Code"] = 1.2;
  EXPECT_THROW(task_targets(config, kTasks), UsageError);
}

TEST(TauSchedule, LearnedTemperatureIsClamped) {
  EXPECT_EQ(learned_temperature(0.0).tau, 1.0);
  EXPECT_TRUE(learned_temperature(0.0).moves);  // the reference begins on the bound
  EXPECT_NEAR(learned_temperature(-0.5).tau, std::exp(-0.5), 1e-15);
  EXPECT_TRUE(learned_temperature(-0.5).moves);
  EXPECT_EQ(learned_temperature(0.2).tau, 1.0);
  EXPECT_FALSE(learned_temperature(0.2).moves);
  EXPECT_EQ(learned_temperature(-3.0).tau, 0.3);
  EXPECT_FALSE(learned_temperature(-3.0).moves);
}

TEST(TauSchedule, CosineIsTheReferenceFormula) {
  RouterConfig c;
  c.tau_schedule = TauSchedule::cosine;
  for (const int64_t steps : {7, 100, 300}) {
    const double t0 = std::ceil(0.6 * double(steps) - 1e-9);
    for (int64_t s = 0; s <= steps; ++s) {
      const double want =
          double(s) < t0 ? 1 + 0.25 * (1 + std::cos(std::numbers::pi * double(s) / t0)) : 1.0;
      EXPECT_NEAR(gate_temperature(c, s, steps), want, 1e-12) << s << " of " << steps;
    }
  }
}

TEST(TauSchedule, NeverRisesAndStaysAboveTheFloor) {
  for (const auto schedule : {TauSchedule::exp_fraction, TauSchedule::cosine, TauSchedule::exp_step,
                              TauSchedule::constant}) {
    RouterConfig c;
    c.tau_schedule = schedule;
    c.tau = {.init = 2.0, .min = 0.5, .rate = 0.9};
    double last = gate_temperature(c, 0, 50);
    EXPECT_DOUBLE_EQ(last, 2.0);
    for (int64_t s = 1; s <= 50; ++s) {
      const double tau = gate_temperature(c, s, 50);
      EXPECT_LE(tau, last);
      EXPECT_GE(tau, 0.5);
      last = tau;
    }
    EXPECT_EQ(last < 2.0, schedule != TauSchedule::constant);
  }
}

class ObjectiveSettings : public ::testing::Test {
 protected:
  SparsityObjective make(const RegConfig& config) {
    return {config, task_targets(config, kTasks), DType::f64, 3, true, cpu_};
  }
  CpuDevice cpu_;
};

// docs/method.md, Worked values, 9: with L = 2, Hkv = 4, dReg/dz = [0.0075, -0.0065625, 0.04375];
// here by moving one gate of each document, MSR = 1 - sum(z) / 8.
TEST_F(ObjectiveSettings, WorkedGateGradient) {
  SparsityObjective objective = make({});
  ParameterList lambdas;
  objective.append_parameters(lambdas);
  for (auto [p, a, b] : {std::tuple{lambdas[0], 0.2, 0.4}, {lambdas[1], 0.1, 0.3}}) {
    p->value.data<double>()[0] = a;
    p->value.data<double>()[3] = b;
  }
  const std::vector<int32_t> tasks = {0, 0, 3};
  const std::vector<double> open = {4, 2, 4};  // gates that are 1, of 8: MSR 0.5, 0.75, 0.5
  const double want[] = {0.0075, -0.0065625, 0.04375};
  const auto reg = [&](std::vector<double> sum_z) {
    for (double& z : sum_z) z = 1 - z / 8;
    return test::evaluate_pack(objective, tasks, sum_z, 0.0);
  };
  const auto at = reg(open);
  for (size_t b = 0; b < 3; ++b) {
    auto up = open, down = open;
    up[b] += 1e-5;
    down[b] -= 1e-5;
    EXPECT_NEAR((reg(up).value - reg(down).value) / 2e-5, want[b], 1e-9);
    EXPECT_NEAR(-at.d_msr[b] / 8, want[b], 1e-12);
  }
}

TEST_F(ObjectiveSettings, OneDocumentPerTaskCountsAsMuchAsMany) {
  SparsityObjective objective = make({});
  const auto one =
      test::evaluate_pack(objective, std::vector<int32_t>{1, 4}, std::vector<double>{0.3, 0.6}, 0);
  const auto many = test::evaluate_pack(objective, std::vector<int32_t>{1, 1, 1, 4},
                                        std::vector<double>{0.3, 0.3, 0.3, 0.6}, 0);
  EXPECT_NEAR(one.value, many.value, 1e-14);
  EXPECT_NEAR(one.d_msr[0], 3 * many.d_msr[0], 1e-14);
  EXPECT_NEAR(one.d_msr[1], many.d_msr[3], 1e-14);
}

// How many packs are computed at a time changes nothing: the step's objective is a mean over packs.
TEST_F(ObjectiveSettings, PacksTogetherAreTheSumOfPacksAlone) {
  for (const bool enabled : {true, false}) {
    RegConfig config;
    config.enabled = enabled;
    SparsityObjective together = make(config), alone = make(config);
    ParameterList of_together, of_alone;
    together.append_parameters(of_together);
    alone.append_parameters(of_alone);
    const std::vector<int32_t> tasks = {0, 0, 3, 3, 1};
    const std::vector<double> msr = {0.1, 0.9, 0.4, 0.6, 0.2};
    const std::vector<int32_t> ends = {3, 4, 5};
    const auto all = test::evaluate_packs(together, tasks, msr, ends, 0.5);
    double value = 0;
    std::vector<double> d_msr;
    size_t begin = 0;
    for (const int32_t end : ends) {
      const size_t n = size_t(end) - begin;
      const auto one = test::evaluate_pack(alone, std::span(tasks).subspan(begin, n),
                                           std::span(msr).subspan(begin, n), 0.5);
      value += one.value;
      d_msr.insert(d_msr.end(), one.d_msr.begin(), one.d_msr.end());
      begin = size_t(end);
    }
    EXPECT_NEAR(all.value, value, 1e-14);
    ASSERT_EQ(all.d_msr.size(), d_msr.size());
    for (size_t b = 0; b < d_msr.size(); ++b) EXPECT_NEAR(all.d_msr[b], d_msr[b], 1e-14) << b;
    // One mean over all five documents would be another number.
    EXPECT_GT(std::abs(test::evaluate_pack(together, tasks, msr, 0.0).value * 3 - value), 1e-3);
    for (size_t p = 0; p < of_together.size(); ++p) {
      const auto a = of_together[p]->grad.to_vector<double>();
      const auto b = of_alone[p]->grad.to_vector<double>();
      for (size_t t = 0; t < a.size(); ++t) EXPECT_NEAR(a[t], b[t], 1e-14) << t;
    }
  }
}

TEST_F(ObjectiveSettings, AtTheTargetNothingPulls) {
  SparsityObjective objective = make({});
  const auto at =
      test::evaluate_pack(objective, std::vector<int32_t>{0}, std::vector<double>{0.7}, 1.0);
  EXPECT_EQ(at.value, 0.0);
  EXPECT_EQ(at.d_msr[0], 0.0);
}

TEST_F(ObjectiveSettings, ScaleIsLinearAndAccumulates) {
  SparsityObjective objective = make({});
  ParameterList lambdas;
  objective.append_parameters(lambdas);
  const std::vector<int32_t> tasks = {0, 2};
  const std::vector<double> msr = {0.4, 0.9};
  test::evaluate_pack(objective, tasks, msr, 0.0);
  for (const double g : lambdas[0]->grad.to_vector<double>()) EXPECT_EQ(g, 0.0);
  test::evaluate_pack(objective, tasks, msr, 1.0);
  const auto once = lambdas[0]->grad.to_vector<double>();
  EXPECT_GT(once[0], 0.0);
  EXPECT_EQ(once[1], 0.0);  // absent task
  test::evaluate_pack(objective, tasks, msr, 0.5);
  const auto more = lambdas[0]->grad.to_vector<double>();
  for (size_t t = 0; t < once.size(); ++t) EXPECT_NEAR(more[t], 1.5 * once[t], 1e-14);
}

TEST_F(ObjectiveSettings, ParametersAscend) {
  SparsityObjective objective = make({});
  ParameterList lambdas;
  objective.append_parameters(lambdas);
  ASSERT_EQ(lambdas.size(), 2u);
  EXPECT_EQ(lambdas[0]->name, "objective.lambda1");
  EXPECT_EQ(lambdas[1]->name, "objective.lambda2");
  for (const Parameter* p : lambdas) {
    EXPECT_EQ(p->group, ParameterGroup::lambda);
    EXPECT_TRUE(p->trainable && p->maximize);
    EXPECT_FALSE(p->gradient_partial_over_tensor);  // every tensor rank sees all of MSR
    EXPECT_EQ(p->logical_shape, Shape({5}));
  }
}

TEST_F(ObjectiveSettings, Clamp) {
  RegConfig config;
  SparsityObjective free = make(config);
  config.lambda_clamp = 0.3;
  SparsityObjective clamped = make(config);
  for (SparsityObjective* o : {&free, &clamped}) {
    ParameterList lambdas;
    o->append_parameters(lambdas);
    lambdas[0]->value.data<double>()[0] = 7;
    lambdas[0]->value.data<double>()[1] = -1;
    lambdas[0]->value.data<double>()[2] = 0.25;
    o->clamp();
  }
  EXPECT_EQ(clamped.lambda1()[0], 0.3);
  EXPECT_EQ(clamped.lambda1()[1], 0.0);
  EXPECT_EQ(clamped.lambda1()[2], 0.25);
  EXPECT_EQ(free.lambda1()[0], 7.0);
  EXPECT_EQ(free.lambda1()[1], -1.0);
}

TEST_F(ObjectiveSettings, TaskWithoutTargetIsRefused) {
  SparsityObjective objective = make({});
  EXPECT_THROW(
      test::evaluate_pack(objective, std::vector<int32_t>{5}, std::vector<double>{0.5}, 0.0),
      LogicError);
}

// ESR by counting the pairs one by one.
TEST(Sparsity, FiguresByCounting) {
  const auto rule = ops::StreamingRule::from_tokens(3, 9, 4);  // 1 and 3 blocks of 4
  for (const int64_t length : {1, 4, 13, 16, 17, 30}) {
    int64_t pairs = 0, last = 0;
    for (int64_t i = 0; i < length; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        const bool seen = j / 4 < 1 || i / 4 - j / 4 < 3;
        pairs += seen;
        if (i == length - 1) last += seen;
      }
    }
    const int64_t causal = length * (length + 1) / 2;
    const double area = 1 - double(pairs) / double(causal);
    const double query = 1 - double(last) / double(length);
    const auto f = sparsity_figures({.sparse = 5, .sparse_last = 2}, 3, 4, length,
                                    {ops::KeySet::full(), ops::KeySet::streaming(rule)});
    EXPECT_DOUBLE_EQ(f.msr, 5.0 / 12);
    EXPECT_NEAR(f.esr_last_layer_last_query, 0.5 * query, 1e-15);
    EXPECT_NEAR(f.esr_all_layers_last_query, 5.0 / 12 * query, 1e-15);
    EXPECT_NEAR(f.esr_all_layers_area, 5.0 / 12 * area, 1e-15);
  }
}

class GateFile : public ::testing::Test {
 protected:
  std::string write(const std::string& text) {
    const std::string path = ::testing::TempDir() + "/gates-" +
                             ::testing::UnitTest::GetInstance()->current_test_info()->name() +
                             ".json";
    std::ofstream(path) << text;
    path_ = path;
    return "static:" + path;
  }
  void TearDown() override { std::filesystem::remove(path_); }
  std::string path_;
};

TEST_F(GateFile, IsRead) {
  const auto force = parse_force(write("[[1, 0, 0], [0, 1, 1]]"), 2, 3);
  EXPECT_TRUE(force.active);
  EXPECT_EQ(force.gates, (StaticGates{{1, 0, 0}, {0, 1, 1}}));
}

TEST_F(GateFile, OfAnotherModelOrBroken) {
  for (const char* bad :
       {"[[1, 0, 0]]", "[[1, 0], [0, 1]]", "[[1, 0, 2], [0, 1, 1]]", "[[1, 0, -0.5], [0, 1, 1]]",
        "[[true, false, true], [0, 1, 1]]", "{\"gates\": []}", "[[1, 0, 0], [0, 1, 1]", ""}) {
    EXPECT_THROW(parse_force(write(bad), 2, 3), InputError) << bad;
  }
}

TEST(ForcedGates, FormsThatLookRight) {
  for (const char* bad : {"random:0.5:-1", "random: 0.5:1", "random:0.5:1 ", "random:0.5:1.5",
                          "random:nan:1", "random:0x1p-1:1", "random::1", "Full", "static"}) {
    EXPECT_THROW(parse_force(bad, 2, 2), UsageError) << bad;
  }
  EXPECT_EQ(parse_force("random:0.5:18446744073709551615", 2, 2).gates,
            random_static_gates(2, 2, 0.5, ~uint64_t(0)));
}

// Every (layer, head) is as likely to be sparse as any other.
TEST(ForcedGates, RandomIsEven) {
  std::vector<int> sparse(12, 0);
  constexpr int kSeeds = 2000;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const auto gates = random_static_gates(3, 4, 0.25, seed);
    for (size_t i = 0; i < 12; ++i) sparse[i] += gates[i / 4][i % 4] == 0;
  }
  // 500 expected, standard deviation 19.4; four of them, for twelve counts.
  for (const int n : sparse) EXPECT_NEAR(n, 500, 78);
}

TEST(RandomGates, SharesAndIndependenceOfTheLayout) {
  const RandomGates random{.sequence_share = 0.4, .sparse_probability = 0.3, .seed = 6};
  CpuDevice cpu;
  const RouterConfig config;
  constexpr int64_t kSequences = 2000, kHeads = 4;
  std::vector<uint32_t> sample_keys(kSequences);
  std::vector<int32_t> cu(kSequences + 1);
  for (size_t s = 0; s < kSequences; ++s) {
    sample_keys[s] = uint32_t(s);
    cu[s + 1] = int32_t(s + 1);
  }
  RouterBatch batch;
  batch.sample_keys = sample_keys;
  batch.step = 9;
  const auto gates = [&](int64_t first, int64_t heads) {
    const RoutedLayer layer(1, first, config, random);
    SavedRoute route;
    layer.decide(Tensor::zeros({kSequences, heads, 1}, DType::f32, cpu), kSequences, batch, route);
    EXPECT_FALSE(layer.needs_gate_gradient());
    return route.gate;
  };
  const Tensor whole = gates(0, kHeads);
  EXPECT_EQ(gates(2, 2).to_vector<uint8_t>(), whole.slice(1, 2, 4).to_vector<uint8_t>());

  int64_t sparse = 0, dense_sequences = 0;
  const auto z = whole.to_vector<uint8_t>();
  for (size_t s = 0; s < kSequences; ++s) {
    int here = 0;
    for (size_t h = 0; h < kHeads; ++h) here += z[s * kHeads + h] == 0;
    sparse += here;
    dense_sequences += here == 0;
  }
  // Expected share 0.12; sparse heads of a sequence have variance 0.6816, so four standard
  // deviations of the share over 2,000 sequences of four heads are 0.0185.
  EXPECT_NEAR(double(sparse) / double(z.size()), 0.12, 0.0185);
  // Sequences without any sparse head: 0.6 + 0.4 * 0.7^4 = 0.696; four deviations 0.041.
  EXPECT_NEAR(double(dense_sequences) / kSequences, 0.69604, 0.0412);
}

// No two (layer, head) pairs share their draws.
TEST(RandomGates, PairsAreIndependent) {
  const RandomGates random{.sequence_share = 1, .sparse_probability = 0.5, .seed = 6};
  std::set<std::string> seen;
  for (int64_t layer = 0; layer < 3; ++layer) {
    for (int64_t head = 0; head < 3; ++head) {
      std::string column;
      for (uint32_t s = 0; s < 100; ++s) column += random.gate(2, s, layer, head) == 0 ? 's' : 'f';
      seen.insert(column);
    }
  }
  EXPECT_EQ(seen.size(), 9u);
}

TEST(PoolSegment, EmptyRangesPoolNothing) {
  // No answer: its range ends before it begins.
  const std::vector<int64_t> ranges = {0, 0, 0, 4, 0, 4, 5, 4};
  const auto s = pool_segment(PoolSegmentKind::a, ranges, 100);
  EXPECT_LE(s.end, s.begin);
  EXPECT_THROW(pool_segment(PoolSegmentKind::a, std::vector<int64_t>(7, 0), 0), LogicError);
}

}  // namespace
}  // namespace elastron::router
