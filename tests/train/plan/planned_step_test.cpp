// Plans against the steps they are of: the device's own counter of a step that computes.
#include "train/plan/planned_step.h"

#include <gtest/gtest.h>

#include "model/attention_exchange.h"
#include "tests/train/plan/planned_cases.h"
#include "train/plan/layouts.h"

namespace elastron::train {
namespace {

void expect_held(const test::PlannedCase& c, const model::ModelConfig& m) {
  parallel::CollectiveLog log;
  parallel::Mesh mesh = parallel::Mesh::recording(c.layout, {}, log);
  CpuDevice device;
  int64_t held = 0, peak = 0;
  {
    test::RealStep step(c.config, m, mesh, device);
    EXPECT_FALSE(step.run().skipped) << c.name;
    held = device.memory().in_use_bytes;
    device.reset_peak();
    step.run();
    peak = device.memory().peak_bytes;
  }
  const PlannedStep plan = plan_step(c.config, m, c.layout, DeviceKind::cpu, {});
  EXPECT_EQ(plan.memory.total(), peak) << c.name;
  const int64_t tables_of_batch = plan.memory.held() - held;
  EXPECT_GT(tables_of_batch, 0) << c.name;
  EXPECT_LT(tables_of_batch, 16384) << c.name;
}

// The same allocations in the same order: to the byte, in either direction.
TEST(PlannedStep, HoldsWhatAStepHolds) {
  int cases = 0;
  for (const int ranks : {1, 2, 4}) {
    for (const test::PlannedCase& c : test::planned_cases(ranks)) {
      expect_held(c, test::small_shapes());
      ++cases;
    }
  }
  EXPECT_GT(cases, 90);
}

// Whatever tokens choose.
TEST(PlannedStep, HoldsWhatAStepWithExpertsHolds) {
  for (const int ranks : {1, 2, 4}) {
    for (const test::PlannedCase& c : test::planned_mixtures(ranks)) {
      expect_held(c, test::small_mixture());
    }
  }
}

TEST(PlannedStep, NamesWhatALayerKeeps) {
  const model::ModelConfig m = test::small_shapes();
  const auto c = test::planned_case("", {1, 1, 1}, model::Recompute::none, [](const Config&) {});
  const MemoryPlan plan = plan_step(c.config, m, c.layout, DeviceKind::cuda, {}).memory;
  const auto bytes = [&](const std::string& name) {
    for (const MemoryItem& item : plan.layer) {
      if (item.name == name) return item.bytes;
    }
    return int64_t(0);
  };
  const int64_t rows = 256, hidden = rows * 64 * 4, q = rows * 8 * 16 * 4, kv = q / 2;
  EXPECT_EQ(bytes("input"), hidden);
  EXPECT_EQ(bytes("between attention and MLP"), hidden);
  // Both branches' outputs and log-sum-exps, and what was visited.
  EXPECT_EQ(bytes("attention outputs"), 2 * (q + rows * 8 * 4) + 256);
  // Before and after the norms of heads, with their inverse roots, and the layer norm's.
  EXPECT_EQ(bytes("queries, keys and values"), 2 * q + 3 * kv + rows * (8 + 4 + 1) * 4);
  EXPECT_EQ(bytes("MLP gate and up"), 2 * rows * 96 * 4 + rows * 4);
  EXPECT_EQ(plan.packed, 0);
}

// What the largest jobs of the README need, in bytes that no GPU was asked for.
TEST(PlannedStep, LongContextsFit) {
  model::ModelConfig m = test::qwen3_8b();
  Config config;
  config.model.dtype = ComputeDType::bfloat16;
  config.data.max_tokens = 65536;
  const auto planned = [&](model::Recompute recompute) {
    config.train.recompute = recompute;
    return plan_step(config, m, {1, 1, 1}, DeviceKind::cuda, {}).memory.total();
  };
  EXPECT_LT(planned(model::Recompute::layer), int64_t(75) << 30);
  EXPECT_GT(planned(model::Recompute::selective), int64_t(80) << 30);
  EXPECT_LT(planned(model::Recompute::selective), int64_t(131) << 30);
  m.hidden_size = 2560;  // Qwen3-4B
  m.intermediate_size = 9728;
  m.tie_word_embeddings = true;
  config.data.max_tokens = 131072;
  EXPECT_LT(planned(model::Recompute::layer), int64_t(131) << 30);
}

// A pack of many documents asks no more of a GPU in a layer than one of a single document: nothing
// goes document by document or run by run of rows. Attention on a group of heads may add up what
// was cut of its keys, in one kernel.
TEST(PlannedStep, AsksAsOftenForManyDocuments) {
  model::ModelConfig m = test::small_shapes();
  m.q_heads = 32;
  m.kv_heads = 8;
  m.head_dim = 128;
  for (const auto& [ranks, kind] :
       {std::pair{1, ContextKind::gather}, {8, ContextKind::gather}, {8, ContextKind::ulysses}}) {
    const auto c =
        test::planned_case("", {1, ranks, 1}, model::Recompute::none, [&](Config& config) {
          config.model.dtype = ComputeDType::bfloat16;
          config.parallel.context_kind = kind;
          config.data.max_tokens = 65536;
        });
    const auto calls = [&](int64_t document_tokens) {
      return plan_step(c.config, m, c.layout, DeviceKind::cuda,
                       {.document_tokens = document_tokens})
          .layer;
    };
    const DeviceCalls one = calls(0);
    for (const int64_t tokens : {8192, 1024}) {
      const DeviceCalls many = calls(tokens);
      const double groups = double(model::kv_head_groups(m.kv_heads, ranks));
      EXPECT_LE(many.launches, one.launches + groups) << ranks << " ranks, documents of " << tokens;
      EXPECT_LE(many.copies, one.copies) << ranks << " ranks, documents of " << tokens;
    }
  }
}

// Packs of more tokens than the host should hold are planned from fewer, in proportion.
TEST(PlannedStep, OfManyTokensGrowsWithThem) {
  const auto total = [](int64_t packs) {
    auto c = test::planned_case("", {1, 1, 1}, model::Recompute::layer, [&](Config& config) {
      config.data.max_tokens = 1 << 17;
      config.train.micro_batch = packs;
    });
    return double(
        plan_step(c.config, test::small_shapes(), c.layout, DeviceKind::cuda, {}).memory.total());
  };
  EXPECT_NEAR(total(64) / total(4), 16, 0.1);
}

}  // namespace
}  // namespace elastron::train
