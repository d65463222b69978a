// The planner against what runs: its collectives are those that a step writes down on a recording
// mesh; device files are checked.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>

#include "data/context_shard.h"
#include "model/router_batch.h"
#include "router/layer_routers.h"
#include "train/plan/collectives.h"
#include "train/plan/device_spec.h"
#include "train/plan/layouts.h"
#include "train/plan/run_shape.h"
#include "train/step/step.h"

namespace elastron::train {
namespace {

constexpr int64_t kTokens = 256;

model::ModelConfig shapes() {
  model::ModelConfig c;
  c.hidden_size = 64;
  c.intermediate_size = 96;
  c.num_layers = 3;
  c.q_heads = 8;
  c.kv_heads = 4;
  c.head_dim = 16;
  c.vocab_size = 100;
  return c;
}

struct Sum {
  int64_t bytes = 0, calls = 0;
  bool operator==(const Sum&) const = default;
};
using Sums = std::map<std::string, Sum>;  // by axis and operation

std::ostream& operator<<(std::ostream& out, const Sum& s) {
  return out << s.bytes << " bytes in " << s.calls << " calls";
}

struct Case {
  parallel::MeshLayout layout;
  ContextKind kind;
  model::Recompute recompute;
  bool sequence = false;
  int64_t tokens = kTokens;
  std::vector<Part> trainable = {Part::router};
};

TEST(PlannedCollectives, AreThoseOfARecordedStep) {
  using model::Recompute;
  for (const Case& k :
       {Case{{2, 1, 1}, ContextKind::gather, Recompute::none},
        Case{{1, 1, 2}, ContextKind::gather, Recompute::none},
        Case{{1, 1, 4}, ContextKind::gather, Recompute::layer},
        Case{{1, 2, 1}, ContextKind::gather, Recompute::selective},
        Case{{2, 2, 2}, ContextKind::gather, Recompute::layer},
        Case{{1, 2, 1}, ContextKind::ulysses, Recompute::none},
        Case{{1, 2, 2}, ContextKind::ulysses, Recompute::layer},
        // Rows that do not divide are padded.
        Case{{2, 1, 2}, ContextKind::gather, Recompute::none, true, kTokens - 1},
        Case{{1, 1, 4}, ContextKind::gather, Recompute::selective, true, 250},
        Case{{1, 1, 2}, ContextKind::gather, Recompute::layer, true},
        Case{{1, 2, 2}, ContextKind::gather, Recompute::layer, true},
        Case{{1, 2, 2}, ContextKind::ulysses, Recompute::none, true},
        Case{{2, 1, 2},
             ContextKind::gather,
             Recompute::selective,
             false,
             kTokens,
             {Part::backbone, Part::router}},
        Case{{1, 2, 2},
             ContextKind::gather,
             Recompute::none,
             true,
             kTokens,
             {Part::backbone, Part::router}},
        Case{{1, 2, 2},
             ContextKind::gather,
             Recompute::layer,
             true,
             kTokens,
             {Part::lora, Part::router}},
        Case{{2, 1, 2}, ContextKind::gather, Recompute::none, false, kTokens, {Part::lora}}}) {
    Config config;
    config.data.max_tokens = k.tokens;
    config.parallel.sequence = k.sequence;
    config.parallel.bucket_bytes = 20000;
    config.train.trainable = k.trainable;
    config.train.lora.targets = {"q_proj", "o_proj", "up_proj"};
    config.parallel.context_kind = k.kind;
    config.parallel.context = k.layout.context;
    config.parallel.tensor = k.layout.tensor;
    config.train.recompute = k.recompute;
    config.train.loss.chunk_rows = 64;
    config.router.pool_budget = 16;
    config.router.ssa = {.sink = 64, .local = 64, .block = 64};
    const model::ModelConfig m = shapes();

    parallel::CollectiveLog log;
    auto mesh = parallel::Mesh::recording(k.layout, {}, log);
    CpuDevice device;
    model::Decoder decoder(m, decoder_options(config, true), mesh.tensor(), device);
    decoder.initialise(1);
    router::LayerRouters routers(config.router,
                                 router::RoutedModel{m.num_layers,
                                                     m.head_dim,
                                                     {m.kv_heads, 0, m.kv_heads / k.layout.tensor},
                                                     data::kTaskCount},
                                 DType::f32, 1, config.trains(Part::router), device);
    ParameterList trained;
    if (config.trains(Part::backbone)) trained = decoder.parameters();
    trained.insert(trained.end(), decoder.adapters().begin(), decoder.adapters().end());
    router::SparsityObjective objective(config.router.reg,
                                        router::task_targets(config.router.reg, data::kTaskNames),
                                        DType::f32, 1, true, device);
    if (config.trains(Part::router)) {
      routers.append_parameters(trained);
      objective.append_parameters(trained);
    }
    Optimizer optimizer(trained, config.train.adam, 0.0,
                        config.trains(Part::backbone) ? &mesh.grad() : nullptr);
    auto routed = routers.routed();
    LanguageModelLoss loss(decoder, config.train.loss.chunk_rows);
    StepRunner runner(config, mesh, device, decoder, routed, loss,
                      config.trains(Part::router) ? &objective : nullptr, optimizer);
    data::Document document;
    for (int64_t t = 0; t < k.tokens; ++t) document.ids.push_back(int32_t(t * 7 % 100));
    document.user_length = 200;
    const auto batch = data::make_packed_batch({&document});
    log.clear();
    const StepResult result = runner.run(0, {batch}, k.layout.data, [] {});
    EXPECT_FALSE(result.skipped);

    StepTokens step = step_tokens(config, k.layout);
    step.labels = batch.labels();
    if (k.layout.context > 1) {
      const auto plan =
          data::plan_context(batch.cu_seqlens, k.layout.context, config.context_block());
      step.labels = data::shard(batch, plan, 0).labels();
    }
    const auto segments = model::make_router_batch(batch, config.router, 0, 1.0, true).segments;
    step.pooled_rows = std::min<int64_t>(segments[0].end - segments[0].begin, 32);
    Sums recorded, planned;
    for (const auto& c : log) {
      // Figures for the host; buckets of gradients are whole lines of memory.
      const bool bucket = c.axis == "grad" && c.bytes % 64 == 0;
      if (c.operation == "all_reduce" && c.bytes < 512 && !bucket) continue;
      Sum& s = recorded[c.axis + " " + c.operation];
      s.bytes += c.bytes;
      ++s.calls;
    }
    auto all = micro_batch_collectives(config, m, k.layout, step);
    for (auto& c : step_collectives(config, m, k.layout)) all.push_back(c);
    for (const auto& c : all) {
      Sum& s = planned[c.axis + " " + c.operation];
      s.bytes += c.bytes;
      s.calls += c.calls;
    }
    const std::string what = std::to_string(k.layout.data) + std::to_string(k.layout.context) +
                             std::to_string(k.layout.tensor) + (k.sequence ? " sequence" : "");
    EXPECT_FALSE(recorded.empty()) << what;
    for (const auto& [key, s] : recorded) {
      ASSERT_TRUE(planned.contains(key)) << what << " " << key << " " << s;
      EXPECT_EQ(planned[key].calls, s.calls) << what << " " << key;
      EXPECT_EQ(planned[key].bytes, s.bytes) << what << " " << key;
    }
    for (const auto& [key, s] : planned) EXPECT_TRUE(recorded.contains(key)) << what << " " << key;
  }
}

TEST(HeadImbalance, IsTheExpectedMaximum) {
  // One kv head each of 8, 0.3 of them dense.
  const double dense = 1 - std::pow(0.7, 8);
  EXPECT_NEAR(head_imbalance(8, 8, 0.7, 0.0653), (dense + (1 - dense) * 0.0653) / 0.34571, 1e-4);
  EXPECT_DOUBLE_EQ(head_imbalance(8, 1, 0.7, 0.1), 1);
  EXPECT_NEAR(head_imbalance(8, 4, 0.0, 0.1), 1, 1e-9);
}

const std::string kDevices = std::string(ELASTRON_SOURCE_DIR) + "/configs/devices";

std::string message(const std::string& device) {
  try {
    load_device_spec(device, kDevices);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(DeviceFiles, ThoseThatShipAreWhole) {
  for (const char* name : {"a100-80g", "b200", "cpu", "h100", "h200"}) {
    EXPECT_EQ(message(name), "") << name;
  }
  EXPECT_NE(message("h20").find("did you mean h200?"), std::string::npos);
}

TEST(DeviceFiles, FaultsNameFileKeyAndLine) {
  std::ifstream in(kDevices + "/h100.yaml");
  const std::string good{std::istreambuf_iterator<char>(in), {}};
  const std::string path = testing::TempDir() + "/device.yaml";
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    std::ofstream(path) << text;
    return message(path);
  };
  const std::string missing = with("per_node: 8\n", "");
  EXPECT_NE(missing.find("no per_node"), std::string::npos) << missing;
  EXPECT_NE(missing.find(path), std::string::npos) << missing;
  const std::string unknown = with("per_node: 8", "per_nod: 8");
  EXPECT_NE(unknown.find("device.yaml:"), std::string::npos) << unknown;
  EXPECT_NE(with("per_node: 8", "per_node: 0").find("per_node"), std::string::npos);
  std::remove(path.c_str());
}

}  // namespace
}  // namespace elastron::train
