// The simulator against the planner's closed formulas, and what each disturbance does.
#include "train/plan/simulate.h"

#include <gtest/gtest.h>

#include <cmath>

namespace elastron::train {
namespace {

DeviceSpec device() {
  return {.name = "test",
          .kind = DeviceKind::cuda,
          .per_node = 8,
          .memory = {.bytes = 1e12, .bandwidth = 1e12, .usable = 0.9},
          .compute = {.bfloat16 = 1e14,
                      .float32 = 1e13,
                      .linear_share = 0.7,
                      .attention_forward_share = 0.5,
                      .attention_backward_share = 0.4,
                      .bandwidth_share = 0.8,
                      .launch_seconds = 5e-6},
          .node = {.bandwidth = 1e11, .latency = 5e-6},
          .network = {.bandwidth = 1e10, .latency = 2e-5}};
}

model::ModelConfig shapes() {
  model::ModelConfig m;
  m.hidden_size = 512;
  m.intermediate_size = 1536;
  m.num_layers = 5;
  m.q_heads = 16;
  m.kv_heads = 8;
  m.head_dim = 64;
  m.vocab_size = 4096;
  return m;
}

LayoutPlan plan(const parallel::MeshLayout& layout, ContextKind kind = ContextKind::gather,
                model::Recompute recompute = model::Recompute::none, Expected expected = {}) {
  Config config;
  config.data.max_tokens = 16384;
  config.train.global_batch = 16;
  config.train.recompute = recompute;
  config.parallel.context_kind = kind;
  return plan_layout(config, shapes(), layout, device(), expected);
}

SimulatedStep simulate(const LayoutPlan& p, const Disturbances& d, Expected expected = {},
                       uint64_t seed = 1, int64_t step = 0) {
  return simulate_step(p, shapes(), device(), expected, d, seed, step);
}

// Nothing disturbed: the closed formula, to rounding.
TEST(Simulation, IsThePlannedStepWhereAllIsEven) {
  for (const auto recompute : {model::Recompute::none, model::Recompute::layer}) {
    for (const parallel::MeshLayout& layout :
         {parallel::MeshLayout{1, 1, 1}, {8, 1, 1}, {2, 4, 1}, {1, 8, 1}, {4, 8, 1}, {16, 8, 8}}) {
      const Expected expected{.msr = layout.tensor > 1 ? 0.0 : 0.7};
      const auto p = plan(layout, ContextKind::gather, recompute, expected);
      const auto s = simulate(p, {}, expected);
      EXPECT_NEAR(s.seconds / p.time.seconds(), 1, 1e-12) << layout.ranks();
      EXPECT_NEAR((s.computing + s.in_collectives) / s.seconds, 1, 1e-12);
    }
  }
}

// Where heads are split, the closed formula's share for uneven ones is left out.
TEST(Simulation, OfEvenHeadsHasNoneOfThePlannedUnevenness) {
  const auto p = plan({1, 8, 1}, ContextKind::ulysses);
  ASSERT_GT(p.time.uneven, 1.5);
  double even = 0;
  for (const TimePart& part : p.time.parts) {
    even += part.seconds / (part.selected ? p.time.uneven : 1);
  }
  EXPECT_NEAR(simulate(p, {}).seconds / even, 1, 1e-12);
}

// The mean over many draws is what the planner expects of the largest of the ranks.
TEST(Simulation, DrawsHeadsAsThePlannerExpects) {
  for (const auto& [layout, kind] : {std::pair{parallel::MeshLayout{1, 8, 1}, ContextKind::ulysses},
                                     {parallel::MeshLayout{1, 1, 4}, ContextKind::gather}}) {
    const auto p = plan(layout, kind);
    double sum = 0;
    constexpr int kSteps = 100;
    for (int step = 0; step < kSteps; ++step) {
      sum += simulate(p, {.draw_heads = true}, {}, 1, step).seconds;
    }
    EXPECT_NEAR(sum / kSteps / p.time.seconds(), 1, 0.01);
  }
}

// All heads are on every rank: draws change how much there is, not who waits.
TEST(Simulation, GatheredKeysLeaveNobodyWaiting) {
  const auto p = plan({1, 8, 1});
  const auto s = simulate(p, {.draw_heads = true});
  EXPECT_NEAR((s.computing + s.in_collectives) / s.seconds, 1, 1e-12);
  const auto u = simulate(plan({1, 8, 1}, ContextKind::ulysses), {.draw_heads = true});
  EXPECT_LT((u.computing + u.in_collectives) / u.seconds, 0.95);
}

// A layer's heads are alike wherever they are: draws change how much there is to do.
TEST(Simulation, LayersThatAreDecidedAsOneLeaveNobodyWaiting) {
  Config config;
  config.data.max_tokens = 16384;
  config.train.global_batch = 16;
  config.router = router::RouterConfig::of(router::Preset::flux);
  const auto p = plan_layout(config, shapes(), {1, 1, 8}, device(), {});
  EXPECT_EQ(p.time.uneven, 1);
  ASSERT_GT(plan({1, 1, 8}).time.uneven, 1.5);
  double sum = 0;
  constexpr int kSteps = 100;
  for (int step = 0; step < kSteps; ++step) {
    const auto s = simulate(p, {.draw_heads = true}, {}, 1, step);
    EXPECT_NEAR((s.computing + s.in_collectives) / s.seconds, 1, 1e-12);
    sum += s.seconds;
  }
  EXPECT_NEAR(sum / kSteps / p.time.seconds(), 1, 0.01);
}

TEST(Simulation, WaitsForTheSlowest) {
  const auto p = plan({8, 1, 1});
  const double planned = p.time.seconds();
  const auto all = simulate(p, {.straggler_share = 1, .straggler_factor = 2});
  EXPECT_NEAR(all.seconds - planned, all.computing / 2, 1e-9 * planned);
  // Some of the seeds have one among eight ranks; then all wait for it.
  int slow = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const auto s = simulate(p, {.straggler_share = 0.1, .straggler_factor = 2}, {}, seed);
    if (s.seconds < 1.01 * planned) continue;
    ++slow;
    EXPECT_NEAR(s.seconds, all.seconds, 1e-9 * planned);
  }
  EXPECT_GT(slow, 10);
  EXPECT_LT(slow, 36);
}

TEST(Simulation, PacksOfDifferentCostAreDealtAsInARun) {
  auto p = plan({8, 1, 1});
  const Disturbances d{.pack_spread = 0.5};
  double by_cost = 0, in_turn = 0;
  constexpr int kSteps = 40;
  for (int step = 0; step < kSteps; ++step) {
    p.config.parallel.balance = Balance::cost;
    by_cost += simulate(p, d, {}, 1, step).seconds / kSteps;
    p.config.parallel.balance = Balance::none;
    in_turn += simulate(p, d, {}, 1, step).seconds / kSteps;
  }
  EXPECT_GT(in_turn, 1.1 * p.time.seconds());
  EXPECT_LT(by_cost, 0.95 * in_turn);
}

TEST(Simulation, JitterKeepsTheMean) {
  const auto p = plan({1, 8, 1});
  double sum = 0, same = 0;
  constexpr int kSteps = 200;
  for (int step = 0; step < kSteps; ++step) {
    const auto s = simulate(p, {.jitter = 0.3}, {}, 1, step);
    sum += s.in_collectives;
    same += s.seconds == p.time.seconds();
  }
  EXPECT_NEAR(sum / kSteps / simulate(p, {}).in_collectives, 1, 0.01);
  EXPECT_EQ(same, 0);
}

TEST(Simulation, IsAFunctionOfSeedAndStep) {
  const auto p = plan({2, 2, 2});
  const Disturbances d{.jitter = 0.2, .pack_spread = 0.3, .draw_heads = true};
  EXPECT_EQ(simulate(p, d, {}, 3, 4).seconds, simulate(p, d, {}, 3, 4).seconds);
  EXPECT_NE(simulate(p, d, {}, 3, 4).seconds, simulate(p, d, {}, 3, 5).seconds);
  EXPECT_NE(simulate(p, d, {}, 3, 4).seconds, simulate(p, d, {}, 4, 4).seconds);
}

// A run refuses data ranks that cannot share the micro batches of a step evenly.
TEST(StrongScaling, KeepsToLayoutsThatRun) {
  auto start = plan({1, 8, 1});
  start.config.train.global_batch = 48;
  start = plan_layout(start.config, shapes(), start.layout, device(), {});
  const auto grown = [&](int ranks) {
    return scale(start, shapes(), ranks, false, 0.3, device(), {}).plan.layout;
  };
  EXPECT_EQ(grown(128), (parallel::MeshLayout{16, 8, 1}));
  EXPECT_EQ(grown(256), (parallel::MeshLayout{16, 16, 1}));
  EXPECT_EQ(grown(1024), (parallel::MeshLayout{16, 64, 1}));
}

TEST(SimulatedScaling, SaysWhatLimits) {
  const auto start = plan({8, 1, 1});
  const int ranks[] = {8, 64, 1024};
  const auto rows = simulate_scaling(start, shapes(), ranks, true, device(), {},
                                     {.straggler_share = 0.01, .straggler_factor = 3}, {});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_DOUBLE_EQ(rows[0].efficiency, 1);
  EXPECT_LT(rows[2].efficiency, 0.6);
  EXPECT_EQ(rows[2].limit, "stragglers");
  EXPECT_EQ(rows[2].packs, 0);
  EXPECT_EQ(rows[2].heads, 0);
  EXPECT_EQ(rows[2].planned.plan.layout.ranks(), 1024);
}

}  // namespace
}  // namespace elastron::train
