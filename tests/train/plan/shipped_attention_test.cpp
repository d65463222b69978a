// Who computes full attention in the configurations that ship, by their plans.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/config/load.h"
#include "core/meta_device.h"
#include "ops/attention/expectations.h"
#include "tests/train/plan/planned_cases.h"
#include "train/plan/full_attention_line.h"
#include "train/plan/memory_check.h"
#include "train/plan/planned_step.h"

namespace elastron::train {
namespace {

const std::string kConfigs = std::string(ELASTRON_SOURCE_DIR) + "/configs/";

Config shipped(const std::string& path) {
  const std::vector<std::string> files = {path};
  return config::load_config<Config>(files, {});
}

std::map<std::string, int64_t> attention_calls(const PlannedStep& plan) {
  std::map<std::string, int64_t> calls;
  for (const RangeRecord& range : plan.ranges) {
    for (const OpRecord& op : range.ops) {
      const std::string name = op.sum.name;
      if (name.starts_with("routed_attention")) calls[name] += op.calls;
    }
  }
  return calls;
}

TEST(ShippedConfigurations, FullAttentionIsTheLibrarys) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kConfigs)) {
    const auto& path = entry.path();
    if (path.extension() != ".yaml" || path.stem() == "reference") continue;
    SCOPED_TRACE(path.filename().string());
    ++files;
    const Config config = shipped(path.string());
    const model::ModelConfig m = model::read_model_config(kConfigs + config.model.path);
    const parallel::MeshLayout layout{1, int(config.parallel.context), int(config.parallel.tensor)};
    EXPECT_GT(layout.context, 1) << "keys are gathered";
    EXPECT_EQ(config.parallel.context_kind, ContextKind::gather);

    MetaDevice gpu(DeviceKind::cuda);
    gpu.attached<ops::AttentionExpectations>().means = test::kWithLibrary;
    EXPECT_EQ(full_attention_line(config, m, layout, gpu), "by a library from 1024 tokens on");
    const auto with =
        attention_calls(plan_step(config, m, layout, DeviceKind::cuda, {}, test::kWithLibrary));
    EXPECT_GT(with.at("routed_attention_by_library"), 0);
    EXPECT_GT(with.at("routed_attention_backward_by_library"), 0);
    EXPECT_FALSE(with.contains("routed_attention"));

    gpu.attached<ops::AttentionExpectations>().means = {};
    EXPECT_TRUE(full_attention_line(config, m, layout, gpu).starts_with("by our own kernels: "));
    const auto without = attention_calls(plan_step(config, m, layout, DeviceKind::cuda, {}));
    EXPECT_FALSE(without.contains("routed_attention_by_library"));
    EXPECT_EQ(without.at("routed_attention"), with.at("routed_attention_by_library"));

    gpu.attached<ops::AttentionExpectations>().means = test::kWithForwardOfLibrary;
    EXPECT_EQ(full_attention_line(config, m, layout, gpu),
              "forward by a library, backward by our own kernels (the library that is planned for "
              "has no such pass) from 1024 tokens on");
    const auto partly = attention_calls(
        plan_step(config, m, layout, DeviceKind::cuda, {}, test::kWithForwardOfLibrary));
    EXPECT_EQ(partly.at("routed_attention_by_library"), with.at("routed_attention_by_library"));
    EXPECT_EQ(partly.at("routed_attention_backward"), without.at("routed_attention_backward"));
    EXPECT_FALSE(partly.contains("routed_attention_backward_by_library"));
  }
  EXPECT_GE(files, 4);
}

// The plan for a device counts the workspace of the passes that its library has, and of no other.
TEST(PlannedMemory, CountsTheWorkspaceOfPassesThatTheLibraryHas) {
  model::ModelConfig m = test::small_shapes();
  m.kv_heads = 1;
  m.head_dim = 64;
  constexpr int64_t kTokens = 16384;
  const auto c = test::planned_case("", {1, 1, 1}, model::Recompute::layer, [](Config& config) {
    config.model.dtype = ComputeDType::bfloat16;
    config.data.max_tokens = kTokens;
  });
  const auto total = [&](const ops::AttentionMeans& means) {
    MetaDevice gpu(DeviceKind::cuda);
    gpu.attached<ops::AttentionExpectations>().means = means;
    return planned_memory(c.config, m, c.layout, gpu).total();
  };
  const int64_t both = total(test::kWithLibrary);
  const int64_t one = total(test::kWithForwardOfLibrary);
  const int64_t none = total({.kernels = ops::AttentionKernels::mma});
  // docs/gpu.md: float32 sums of dq, and of dk and dv of each query head.
  const int64_t workspace = 4 * (kTokens + 2 * kTokens) * m.q_heads * m.head_dim;
  EXPECT_GE(both - one, workspace);
  EXPECT_LT(one - none, workspace / 10);
}

TEST(FullAttentionLine, SaysWhyItIsOurs) {
  const Config config = shipped(kConfigs + "qwen3-8b.yaml");
  const model::ModelConfig m = model::read_model_config(kConfigs + config.model.path);
  const auto line = [&](const auto& change) {
    Config c = config;
    model::ModelConfig changed = m;
    change(c, changed);
    MetaDevice gpu(DeviceKind::cuda);
    gpu.attached<ops::AttentionExpectations>().means = test::kWithLibrary;
    return full_attention_line(c, changed, {1, 1, 1}, gpu);
  };
  const std::string ours = "by our own kernels: ";
  EXPECT_EQ(line([](Config& c, auto&) { c.router.mode = router::Mode::xa_ssa; }),
            ours + "no branch is full attention");
  const std::string small = ours + "heads are too wide or sequences too short for it";
  EXPECT_EQ(line([](auto&, model::ModelConfig& wide) { wide.head_dim = 256; }), small);
  EXPECT_EQ(line([](Config& c, auto&) { c.data.max_tokens = 512; }), small);
  EXPECT_EQ(line([](Config& c, auto&) {
              c.data.max_tokens = 512;
              c.model.full_attention = ops::FullAttentionBy::cudnn;
            }),
            "by a library");
  EXPECT_EQ(line([](Config& c, auto&) { c.model.full_attention = ops::FullAttentionBy::own; }), "");
}

}  // namespace
}  // namespace elastron::train
