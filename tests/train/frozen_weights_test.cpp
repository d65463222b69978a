// Training leaves weights that do not train as they are, in memory, and a run notices where it did
// not.
#include "train/step/frozen_weights.h"

#include <gtest/gtest.h>

#include <cstring>

#include "router/layer_routers.h"
#include "train/step/step.h"
#include "train/trained_model.h"

namespace elastron::train {
namespace {

std::vector<std::byte> bytes_of(const Parameter& p) {
  std::vector<std::byte> bytes(p.value.bytes());
  std::memcpy(bytes.data(), p.value.raw(), bytes.size());
  return bytes;
}

// A small model whose routers, or adapters, train.
class SmallRun {
 public:
  explicit SmallRun(std::vector<Part> trainable, WeightsKept storage = WeightsKept::automatic) {
    config_.train.trainable = std::move(trainable);
    config_.model.storage = storage;
    config_.train.warmup_ratio = 0;
    config_.train.steps = 10;
    config_.train.lora = {.rank = 2, .targets = {"q_proj", "down_proj"}};
    config_.router.pool_budget = 4;
    config_.router.ssa = {.sink = 16, .local = 16, .block = 16};
    model::ModelConfig m;
    m.hidden_size = 32, m.intermediate_size = 48, m.num_layers = 2;
    m.q_heads = 4, m.kv_heads = 2, m.head_dim = 16, m.vocab_size = 40;
    decoder_.emplace(m, decoder_options(config_, true), mesh_.tensor(), device_);
    decoder_->initialise(1);
    decoder_->initialise_adapters(1);
    const DType master = DType::f32;
    routers_.emplace(config_.router,
                     router::RoutedModel{
                         m.num_layers, m.head_dim, {m.kv_heads, 0, m.kv_heads}, data::kTaskCount},
                     master, 1, config_.trains(Part::router), device_);
    objective_.emplace(config_.router.reg,
                       router::task_targets(config_.router.reg, data::kTaskNames), master, 1, true,
                       device_);
    all_ = decoder_->parameters();
    all_.insert(all_.end(), decoder_->adapters().begin(), decoder_->adapters().end());
    routers_->append_parameters(all_);
    if (config_.trains(Part::router)) objective_->append_parameters(all_);
    for (Parameter* p : all_) {
      if (p->trainable) trained_.push_back(p);
    }
    optimizer_.emplace(trained_, config_.train.adam, 0.1, nullptr);
    routed_ = routers_->routed();
    loss_.emplace(*decoder_);
    runner_.emplace(config_, mesh_, device_, *decoder_, routed_, *loss_,
                    config_.trains(Part::router) ? &*objective_ : nullptr, *optimizer_);
    for (int64_t t = 0; t < 100; ++t) document_.ids.push_back(int32_t(t * 7 % 40));
    document_.user_length = 80;
  }

  void step(int64_t step) {
    const auto batch = data::make_packed_batch({&document_});
    MicroBatches one(1, batch);
    const auto totals = StepTotals::of_alike(1, batch, *loss_);
    EXPECT_FALSE(runner_->run(step, one, totals, [] {}).skipped);
  }
  const ParameterList& parameters() const { return all_; }
  const ParameterList& trained() const { return trained_; }

 private:
  Config config_;
  CpuDevice device_;
  parallel::Mesh mesh_ = parallel::Mesh::single();
  std::optional<model::Decoder> decoder_;
  std::optional<router::LayerRouters> routers_;
  std::optional<router::SparsityObjective> objective_;
  std::optional<Optimizer> optimizer_;
  std::optional<LanguageModelLoss> loss_;
  std::optional<StepRunner> runner_;
  std::vector<router::RoutedLayer> routed_;
  ParameterList all_, trained_;
  data::Document document_;
};

TEST(Frozen, EveryByteStaysWhileTheRestMoves) {
  for (const auto& [trainable, storage] :
       {std::pair{std::vector{Part::router}, WeightsKept::automatic},
        {{Part::lora}, WeightsKept::automatic},
        {{Part::router}, WeightsKept::fp8},
        {{Part::lora}, WeightsKept::fp8}}) {
    SmallRun run(trainable, storage);
    std::vector<std::vector<std::byte>> before;
    for (const Parameter* p : run.parameters()) before.push_back(bytes_of(*p));
    const FrozenWeights frozen(run.parameters());
    for (int64_t s = 0; s < 3; ++s) run.step(s);
    size_t moved = 0, stayed = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      const Parameter& p = *run.parameters()[i];
      const bool same = bytes_of(p) == before[i];
      EXPECT_TRUE(p.trainable || same) << p.name;
      moved += p.trainable && !same ? 1 : 0;
      stayed += p.trainable ? 0 : 1;
    }
    EXPECT_GT(moved, 4u);
    EXPECT_GT(stayed, 10u);
    EXPECT_NO_THROW(frozen.check(0));
  }
}

TEST(Frozen, AByteThatChangedIsNamed) {
  SmallRun run({Part::router});
  const FrozenWeights frozen(run.parameters());
  for (Parameter* p : run.parameters()) {
    auto* bytes = static_cast<unsigned char*>(p->value.raw());
    bytes[p->value.bytes() - 1] ^= 1;
    if (p->trainable) {
      EXPECT_NO_THROW(frozen.check(3));
    } else {
      try {
        frozen.check(3);
        ADD_FAILURE() << p->name;
      } catch (const NumericalError& error) {
        EXPECT_EQ(error.kind(), ExitCode::numerical);
        EXPECT_NE(std::string(error.what()).find(p->name + " changed in memory"), std::string::npos)
            << error.what();
        EXPECT_NE(std::string(error.what()).find("rank 3"), std::string::npos);
      }
    }
    bytes[p->value.bytes() - 1] ^= 1;
  }
  EXPECT_NO_THROW(frozen.check(0));
}

TEST(Frozen, AScaleThatChangedIsNamedToo) {
  SmallRun run({Part::router}, WeightsKept::fp8);
  const FrozenWeights frozen(run.parameters());
  int scaled = 0;
  for (Parameter* p : run.parameters()) {
    if (!p->scale.defined()) continue;
    ++scaled;
    auto* bytes = static_cast<unsigned char*>(p->scale.values.raw());
    bytes[0] ^= 1;
    EXPECT_THROW(frozen.check(0), NumericalError) << p->name;
    bytes[0] ^= 1;
  }
  EXPECT_EQ(scaled, 2 * 7 + 2);
  EXPECT_NO_THROW(frozen.check(0));
}

}  // namespace
}  // namespace elastron::train
