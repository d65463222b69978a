// Training steps of every kind, small: what plans are compared with.
#pragma once
#include <string>
#include <vector>

#include "ops/attention/expectations.h"
#include "parallel/mesh.h"
#include "train/plan/planned_batch.h"
#include "train/step/optimizer.h"
#include "train/step/step.h"
#include "train/trained_model.h"
#include "train/workload/registry.h"

namespace elastron::train::test {

inline model::ModelConfig small_shapes() {
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

// With experts in two of the layers.
inline model::ModelConfig small_mixture() {
  model::ModelConfig c = small_shapes();
  c.experts = model::ExpertConfig{
      .count = 6, .per_token = 2, .width = 32, .normalise = true, .dense_layers = {1}};
  return c;
}

inline model::ModelConfig qwen3_8b() {
  model::ModelConfig c;
  c.hidden_size = 4096;
  c.intermediate_size = 12288;
  c.num_layers = 36;
  c.q_heads = 32;
  c.kv_heads = 8;
  c.head_dim = 128;
  c.vocab_size = 151936;
  return c;
}

// A GPU whose library does both passes of full attention, and one of compute capability 8.x, whose
// library does one.
inline constexpr ops::AttentionMeans kWithLibrary = {.library_forward = true,
                                                     .library_backward = true};
inline constexpr ops::AttentionMeans kWithForwardOfLibrary = {.kernels = ops::AttentionKernels::mma,
                                                              .library_forward = true};

struct PlannedCase {
  std::string name;
  parallel::MeshLayout layout;
  Config config;
};

inline PlannedCase planned_case(const std::string& name, const parallel::MeshLayout& layout,
                                model::Recompute recompute, const auto& change) {
  PlannedCase c{.name = name, .layout = layout, .config = {}};
  c.config.data.max_tokens = 256;
  c.config.data.label_mode = data::LabelMode::all;
  c.config.parallel.sequence = false;
  c.config.parallel.bucket_bytes = 20000;
  c.config.train.recompute = recompute;
  c.config.train.loss.chunk_rows = 64;
  c.config.router.pool_budget = 16;
  c.config.router.ssa = {.sink = 64, .local = 64, .block = 64};
  c.config.train.lora.targets = {"q_proj", "o_proj", "up_proj"};
  change(c.config);
  c.config.parallel.data.value = layout.data;
  c.config.parallel.context = layout.context;
  c.config.parallel.tensor = layout.tensor;
  return c;
}

// Of a mixture: what it trains with, on ranks of every axis.
inline std::vector<PlannedCase> planned_mixtures(int ranks) {
  std::vector<PlannedCase> cases;
  for (const auto r :
       {model::Recompute::none, model::Recompute::selective, model::Recompute::layer}) {
    for (const parallel::MeshLayout& layout :
         {parallel::MeshLayout{1, 1, 1}, {1, 2, 1}, {1, 1, 2}, {2, 1, 2}}) {
      if (layout.ranks() != ranks) continue;
      cases.push_back(planned_case("experts, recompute " + std::string(config::enum_name(r)) +
                                       ", " + std::to_string(layout.context) + " x " +
                                       std::to_string(layout.tensor),
                                   layout, r, [&](Config& c) {
                                     c.parallel.sequence = layout.data == 2;
                                     c.data.max_tokens = 251;
                                     c.train.lora.targets = {"q_proj", "o_proj"};
                                     if (ranks == 1) c.train.trainable = {Part::lora, Part::router};
                                   }));
    }
  }
  return cases;
}

// All objectives and recompute modes on one rank, and on ranks of every axis.
inline std::vector<PlannedCase> planned_cases(int ranks) {
  using model::Recompute;
  std::vector<PlannedCase> cases;
  const auto nothing = [](Config&) {};
  const auto pretrain = [](Config& c) { c.train.objective = kPretrain; };
  const auto lora = [](Config& c) { c.train.trainable = {Part::lora, Part::router}; };
  const auto head = [](Config& c) { c.train.objective = kReward; };
  const auto pairs = [](Config& c) {
    c.train.objective = kReward;
    c.train.trainable = {Part::reward_head, Part::lora, Part::router};
  };
  const auto simpo = [](Config& c) {
    c.train.objective = kReward;
    c.reward.loss = reward::LossKind::simpo;
  };
  const auto blocks = [](Config& c) { c.router.mode = router::Mode::fa_xa; };
  const auto triangle = [](Config& c) { c.router.mode = router::Mode::xa_ssa; };
  const auto topk = [](Config& c) {
    c.router.mode = router::Mode::fa_topk;
    c.router.topk = {.block = 64, .blocks = 2, .sink_blocks = 1};
  };
  const auto topk_windows = [](Config& c) {
    c.router.mode = router::Mode::topk_ssa;
    c.router.topk = {.block = 64, .blocks = 2, .sink_blocks = 1};
  };
  const auto answers = [](Config& c) { c.data.label_mode = data::LabelMode::answer; };
  const auto ulysses = [](Config& c) { c.parallel.context_kind = ContextKind::ulysses; };
  const auto rows = [](Config& c) { c.parallel.sequence = true; };
  const auto odd_rows = [](Config& c) {
    c.parallel.sequence = true;
    c.data.max_tokens = 251;
  };
  const auto by_layer = [](Config& c) {
    const auto ssa = c.router.ssa;
    c.router = router::RouterConfig::of(router::Preset::flux);
    c.router.pool_budget = 16;
    c.router.ssa = ssa;
  };
  const auto layers_and_backbone = [&](Config& c) {
    by_layer(c);
    c.parallel.sequence = true;
    c.train.trainable = {Part::backbone, Part::router};
  };
  const auto heads_by_queries = [](Config& c) { c.router.input = router::RouterInput::query; };
  const auto both = [](Config& c) { c.train.trainable = {Part::backbone, Part::router}; };
  for (const Recompute r : {Recompute::none, Recompute::selective, Recompute::layer}) {
    const auto add = [&](const char* what, const parallel::MeshLayout& layout, const auto& change) {
      if (layout.ranks() != ranks) return;
      cases.push_back(
          planned_case(std::string(what) + ", recompute " + std::string(config::enum_name(r)) +
                           ", " + std::to_string(layout.data) + " x " +
                           std::to_string(layout.context) + " x " + std::to_string(layout.tensor),
                       layout, r, change));
    };
    for (const parallel::MeshLayout& layout :
         {parallel::MeshLayout{1, 1, 1}, {2, 1, 1}, {1, 2, 1}, {1, 1, 2}, {2, 1, 2}, {1, 2, 2}}) {
      add("routers", layout, nothing);
      add("backbone", layout, pretrain);
      add("adapters and routers", layout, lora);
      add("pairs", layout, pairs);
    }
    for (const parallel::MeshLayout& layout : {parallel::MeshLayout{1, 1, 1}, {1, 2, 1}}) {
      add("pairs by likelihood", layout, simpo);
      add("answers", layout, answers);
      add("chosen blocks", layout, blocks);
      add("chosen blocks and windows", layout, triangle);
      add("top k blocks", layout, topk);
      add("top k blocks and windows", layout, topk_windows);
    }
    for (const parallel::MeshLayout& layout : {parallel::MeshLayout{1, 2, 1}, {1, 2, 2}}) {
      add("exchanged heads", layout, ulysses);
    }
    for (const parallel::MeshLayout& layout : {parallel::MeshLayout{1, 1, 2}, {1, 2, 2}}) {
      add("split rows", layout, rows);
      add("split rows that do not divide", layout, odd_rows);
      add("backbone and routers", layout, both);
    }
    for (const parallel::MeshLayout& layout :
         {parallel::MeshLayout{1, 1, 1}, {1, 2, 1}, {1, 1, 2}, {1, 2, 2}}) {
      add("routers of layers", layout, by_layer);
    }
    add("routers of layers and backbone", {1, 1, 2}, layers_and_backbone);
    add("routers that read queries", {1, 1, 1}, heads_by_queries);
    if (r == Recompute::none) add("a head alone", {1, 1, 1}, head);
  }
  return cases;
}

// The same model, optimiser and step, where they compute.
class RealStep {
 public:
  RealStep(const Config& config, const model::ModelConfig& m, parallel::Mesh& mesh, Device& device)
      : model_(config, m, true, mesh, device),
        optimizer_(initialised(model_).objective_parameters(), config.train.adam,
                   config.train.weight_decay, optimizer_group(config, mesh)),
        routed_(model_.training_gates()),
        loss_(model_.make_loss()),
        runner_(config, mesh, device, model_.decoder(), routed_, *loss_, model_.objective(),
                optimizer_),
        batch_(planned_batch(config, 0)),
        totals_(StepTotals::of_alike(mesh.layout().data, batch_, *loss_)) {}
  StepResult run() {
    MicroBatches one(1, batch_);
    return runner_.run(steps_++, one, totals_, [] {});
  }

 private:
  // Before the optimiser, which leaves each rank the master weights of its own part.
  static TrainedModel& initialised(TrainedModel& model) {
    model.decoder().initialise(1);
    return model;
  }

  TrainedModel model_;
  Optimizer optimizer_;
  std::vector<router::RoutedLayer> routed_;
  std::unique_ptr<TrainingLoss> loss_;
  StepRunner runner_;
  data::PackedBatch batch_;
  StepTotals totals_;
  int64_t steps_ = 0;
};

}  // namespace elastron::train::test
