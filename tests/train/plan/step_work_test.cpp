// Operations of a step by hand, and relations that hold for any shape.
#include "train/plan/step_work.h"

#include <gtest/gtest.h>

namespace elastron::train {
namespace {

model::ModelConfig shapes() {
  model::ModelConfig c;
  c.hidden_size = 8;
  c.intermediate_size = 16;
  c.num_layers = 2;
  c.q_heads = 4;
  c.kv_heads = 2;
  c.head_dim = 2;
  c.vocab_size = 10;
  return c;
}

TEST(StepWork, ByHand) {
  // q 8 wide, kv 4: qkv 8 x 16 = 128, o 64, MLP 3 x 128: 576 weights a layer.
  const WorkAmounts amounts{.tokens = 4, .labels = 3, .both_pairs = 10, .selected_pairs = 6};
  const double head = 2 * 2 * 3 * 10 * 8;
  // Nothing trains below the first layer's router: no gradient of its projections' input.
  const double linear = 2 * 2 * 2 * 4 * 576 - 2 * 4 * 128;
  Config config;
  const auto done = [&](model::Recompute recompute) {
    config.train.recompute = recompute;
    return StepWork(config, shapes()).done(amounts);
  };
  EXPECT_DOUBLE_EQ(done(model::Recompute::none), linear + head + 32 * (2 * 10 + 1 * 2.5 * 6));
  EXPECT_DOUBLE_EQ(done(model::Recompute::selective),
                   linear + 2 * 2 * 4 * (128 + 256) + head + 32 * (2 * 10 + 1 * 2.5 * 6));
  EXPECT_DOUBLE_EQ(done(model::Recompute::layer),
                   linear + 2 * 2 * 4 * (576 - 128) + head + 32 * (2 * 10 + 2 * 6 + 1 * 2.5 * 6));
  EXPECT_DOUBLE_EQ(StepWork(config, shapes()).dense_equivalent(amounts, 10),
                   linear + head + 32 * (2 * 10 + 1 * 2.5 * 10));
}

TEST(StepWork, PretrainingWithFullAttentionDoesTheDenseWork) {
  Config config;
  config.train.objective = Objective::pretrain;
  config.train.recompute = model::Recompute::none;
  const WorkAmounts amounts{
      .tokens = 100, .labels = 99, .both_pairs = 5050, .selected_pairs = 5050};
  const StepWork work(config, shapes());
  EXPECT_DOUBLE_EQ(work.done(amounts), work.dense_equivalent(amounts, 5050));
  // Forward, to the inputs and to the weights; the embedding has no product.
  EXPECT_DOUBLE_EQ(work.done(amounts),
                   2 * (3 * 2 * 100 * 576 + 3.5 * 32 * 5050) + 3 * 2 * 99 * 10 * 8.0);
}

// The formulas before this had forgotten the adapters.
TEST(StepWork, CountsAdapters) {
  Config config;
  config.train.trainable = {Part::router};
  const WorkAmounts amounts{.tokens = 1};
  const double without = StepWork(config, shapes()).done(amounts);
  config.train.trainable = {Part::router, Part::lora};
  config.train.lora.targets = {"down_proj"};
  config.train.lora.rank = 2;
  const double with = StepWork(config, shapes()).done(amounts);
  EXPECT_GT(with, without + 2 * 2 * 2 * (8 + 16) * 2);
}

}  // namespace
}  // namespace elastron::train
