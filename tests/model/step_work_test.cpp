// Numbers worked out by hand, and relations that hold for any shape.
#include "model/step_work.h"

#include <gtest/gtest.h>

namespace elastron::model {
namespace {

ModelConfig shapes() {
  ModelConfig c;
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
  const StepShape shape{
      .tokens = 4, .labels = 3, .full_pairs = 10, .selected_pairs = 6, .both_branches = true};
  DecoderOptions options{.recompute = Recompute::none};
  const double head = 2 * 2 * 3 * 10 * 8;
  StepWork work = step_work(shapes(), options, shape);
  EXPECT_EQ(work.dense_equivalent, 2 * (2 * 2 * 4 * 576 + 3.5 * 32 * 10) + head);
  const double linear = 2 * 2 * 2 * 4 * 576 - 2 * 4 * 128;
  EXPECT_EQ(work.done, linear + head + 32 * (2 * 10 + 1 * 2.5 * 6));
  options.recompute = Recompute::selective;
  work = step_work(shapes(), options, shape);
  EXPECT_EQ(work.done, linear + 2 * 2 * 4 * (128 + 256) + head + 32 * (2 * 10 + 1 * 2.5 * 6));
  options.recompute = Recompute::layer;
  work = step_work(shapes(), options, shape);
  EXPECT_EQ(work.done,
            linear + 2 * 2 * 4 * (576 - 128) + head + 32 * (2 * 10 + 2 * 6 + 1 * 2.5 * 6));
}

TEST(StepWork, PretrainingWithFullAttentionDoesTheDenseWork) {
  const StepShape shape{.tokens = 100, .labels = 99, .full_pairs = 5050, .selected_pairs = 5050};
  const DecoderOptions options{.train_backbone = true, .recompute = Recompute::none};
  const StepWork work = step_work(shapes(), options, shape);
  EXPECT_DOUBLE_EQ(work.done, work.dense_equivalent);
}

}  // namespace
}  // namespace elastron::model
