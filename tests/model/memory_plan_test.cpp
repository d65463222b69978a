// The plan against what a step really holds: the device's own counter, on an emulated GPU.
#include "model/memory_plan.h"

#include <gtest/gtest.h>

#include "core/cuda/device.h"
#include "model/router_batch.h"
#include "parallel/communicator.h"
#include "train/step/step.h"

namespace elastron {
namespace {

model::ModelConfig shapes(bool qk_norm, int64_t intermediate) {
  model::ModelConfig c;
  c.qk_norm = qk_norm;
  c.hidden_size = 64;
  c.intermediate_size = intermediate;
  c.num_layers = 2;
  c.q_heads = 4;
  c.kv_heads = 2;
  c.head_dim = 32;
  c.vocab_size = 100;
  c.tie_word_embeddings = !qk_norm;
  return c;
}

class MemoryPlan : public ::testing::TestWithParam<model::Recompute> {};

struct Variant {
  bool qk_norm;
  int64_t intermediate;
  ops::FullAttentionBy full_by;
};

TEST_P(MemoryPlan, IsWhatAStepHolds) {
  for (const auto& [qk_norm, intermediate, full_by] : {Variant{true, 64, ops::FullAttentionBy::own},
                                                       {false, 320, ops::FullAttentionBy::own},
                                                       {true, 64, ops::FullAttentionBy::cudnn}}) {
    const model::ModelConfig config = shapes(qk_norm, intermediate);
    const int64_t tokens = 320;
    cuda::CudaDevice device(0);
    parallel::SelfCommunicator self("tensor");
    const model::DecoderOptions options{.dtype = DType::bf16,
                                        .recompute = GetParam(),
                                        .max_position = tokens,
                                        .loss_chunk_rows = 64,
                                        .full_attention = full_by};
    model::Decoder decoder(config, options, self, device);
    decoder.initialise(1);
    int64_t weights = 0;
    for (const Parameter* p : decoder.parameters()) weights += int64_t(p->value.bytes());

    router::RouterConfig routing;
    routing.ssa = {.sink = 64, .local = 64, .block = 64};
    std::vector<std::unique_ptr<router::AttentionRouter>> routers;
    std::vector<router::RoutedLayer> routed;
    for (int64_t i = 0; i < config.num_layers; ++i) {
      routers.push_back(std::make_unique<router::AttentionRouter>(
          i, config.head_dim, data::kTaskCount, routing, DType::f32, 1, true, device));
      routed.emplace_back(i, 0, routing, 1, *routers.back());
    }
    data::Document document;
    for (int64_t t = 0; t < tokens; ++t) document.ids.push_back(int32_t(t * 7 % 100));
    document.user_length = 16;
    const auto batch = data::make_packed_batch({&document});
    const auto on_device = model::DeviceBatch::make(batch, device);
    const auto router_batch = model::make_router_batch(batch, routing, 0, 1.0, true);

    device.synchronize();
    const int64_t before = device.memory().in_use_bytes;
    device.reset_peak();
    {
      model::SavedForward saved;
      Tensor hidden = decoder.forward(on_device, router_batch, routed, {.saved = &saved});
      auto loss = decoder.loss(hidden, on_device, {.need_gradient = true, .chunk_rows = 64});
      hidden = {};
      decoder.backward(std::move(loss.d_hidden), on_device, router_batch, routed, saved, {},
                       [](Parameter&) {});
    }
    const double held = double(device.memory().peak_bytes - before);
    const auto attention =
        ops::attention_workspace(device, options.dtype, config.q_heads, config.kv_heads,
                                 config.head_dim, tokens, true, full_by);
    const auto plan = model::plan_memory(config, options,
                                         {.tokens = tokens,
                                          .attention = attention,
                                          .routers = routing,
                                          .tasks = data::kTaskCount,
                                          .train_routers = true});
    const std::string what =
        model::describe(plan, tokens) + ", intermediate size " + std::to_string(intermediate);
    EXPECT_EQ(plan.weights, weights) << what;
    EXPECT_LE(held, 1.05 * double(plan.saved + plan.working)) << what;
    EXPECT_GE(held, 0.90 * double(plan.saved + plan.working)) << what;
    EXPECT_LT(device.memory().in_use_bytes, before + 65536) << "a step keeps memory";
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, MemoryPlan,
                         ::testing::Values(model::Recompute::none, model::Recompute::selective,
                                           model::Recompute::layer));

int64_t planned(const model::ModelConfig& c, const model::DecoderOptions& options, int64_t tokens) {
  return model::plan_memory(c, options,
                            {.tokens = tokens,
                             .routers = router::RouterConfig{},
                             .tasks = data::kTaskCount,
                             .train_routers = true})
      .total();
}

// What the largest jobs of the README need, in bytes that no GPU was asked for.
TEST(MemoryPlanOf, LongContextsFit) {
  model::ModelConfig c;  // Qwen3-8B
  c.hidden_size = 4096;
  c.intermediate_size = 12288;
  c.num_layers = 36;
  c.q_heads = 32;
  c.kv_heads = 8;
  c.head_dim = 128;
  c.vocab_size = 151936;
  model::DecoderOptions options{.dtype = DType::bf16, .recompute = model::Recompute::layer};
  EXPECT_LT(planned(c, options, 65536), int64_t(75) << 30);
  options.recompute = model::Recompute::selective;
  EXPECT_GT(planned(c, options, 65536), int64_t(80) << 30);
  EXPECT_LT(planned(c, options, 65536), int64_t(131) << 30);
  c.hidden_size = 2560;  // Qwen3-4B
  c.intermediate_size = 9728;
  c.tie_word_embeddings = true;
  options.recompute = model::Recompute::layer;
  EXPECT_LT(planned(c, options, 131072), int64_t(131) << 30);
}

}  // namespace
}  // namespace elastron
