// Decoding token by token from a cache gives what one forward pass over the whole sequence gives.
#include "inference/head_cache.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/philox.h"
#include "data/document.h"
#include "model/decoder.h"
#include "model/router_batch.h"
#include "router/layer_routers.h"

namespace elastron::inference {
namespace {

struct Case {
  bool qk_norm;
  int64_t prompt, sink, local, block;
};

class Decoding : public ::testing::TestWithParam<Case> {};

TEST_P(Decoding, EqualsTheForwardPassOfTheWholeSequence) {
  const Case& c = GetParam();
  constexpr int64_t kLength = 75, kLayers = 2, kHeads = 4;
  CpuDevice cpu;
  parallel::SelfCommunicator self("tensor");
  model::ModelConfig config;
  config.qk_norm = c.qk_norm;
  config.hidden_size = 24;
  config.intermediate_size = 20;
  config.num_layers = kLayers;
  config.q_heads = 8;
  config.kv_heads = kHeads;
  config.head_dim = 6;
  config.vocab_size = 31;
  config.initializer_range = 0.3;
  model::Decoder decoder(config, {.dtype = DType::f64, .repack = false, .max_position = kLength},
                         self, cpu);
  decoder.initialise(5);
  const RandomStream stream(9, RandomPurpose::test);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < kLength; ++i) ids.push_back(int32_t(stream.bits_at(uint64_t(i)) % 31));

  router::RouterConfig routing;
  routing.ssa = {.sink = c.sink, .local = c.local, .block = c.block};
  std::vector<router::RoutedLayer> layers;
  layers.emplace_back(0, 0, routing, std::vector<uint8_t>{1, 0, 0, 1});
  layers.emplace_back(1, 0, routing, std::vector<uint8_t>{0, 0, 1, 0});
  const auto forward = [&](int64_t tokens, model::KvCache* cache) {
    data::Document document;
    document.ids.assign(ids.begin(), ids.begin() + tokens);
    document.user_length = tokens;
    const auto batch = data::make_packed_batch({&document});
    const auto rb = model::make_router_batch(batch, routing, 0, 1.0, false);
    return decoder.forward(model::DeviceBatch::make(batch, cpu), rb, layers, {.cache = cache})
        .to_vector<double>();
  };
  const auto decode = [&](int64_t position, model::KvCache& cache) {
    const auto one = [&](int32_t value) {
      return Tensor::from(std::vector<int32_t>{value}, {1}, cpu);
    };
    return decoder.decode(one(ids[size_t(position)]), one(int32_t(position)), cache);
  };
  const auto whole = forward(kLength, nullptr);
  HeadCache cache(kLayers, kHeads, config.head_dim, kLength, routing.streaming_rule(), DType::f64,
                  cpu);
  forward(c.prompt, &cache);
  double worst = 0;
  for (int64_t t = c.prompt; t < kLength; ++t) {
    const auto row = decode(t, cache).to_vector<double>();
    for (int64_t i = 0; i < config.hidden_size; ++i) {
      worst = std::max(worst, std::abs(row[size_t(i)] - whole[size_t(t * config.hidden_size + i)]));
    }
  }
  EXPECT_LT(worst, 1e-12);

  // Five of eight heads keep the sink and the window only.
  const int64_t kept = std::min(
      routing.streaming_rule().sink_tokens() + routing.streaming_rule().local_blocks * c.block,
      kLength);
  EXPECT_EQ(cache.full_bytes(), 8 * kLength * 6 * 2 * 8);
  EXPECT_EQ(cache.bytes(), (3 * kLength + 5 * kept) * 6 * 2 * 8);

  // With all keys in streaming heads the result is another one: the rule did matter.
  HeadCache all(kLayers, kHeads, config.head_dim, kLength, routing.streaming_rule(), DType::f64,
                cpu);
  all.keep_all(true);
  forward(c.prompt, &all);
  EXPECT_EQ(all.bytes(), all.full_bytes());
  double changed = 0;
  for (int64_t t = c.prompt; t < kLength; ++t) {
    const auto row = decode(t, all).to_vector<double>();
    changed = std::max(changed, std::abs(row[0] - whole[size_t(t * config.hidden_size)]));
  }
  EXPECT_EQ(changed > 1e-6, kept < kLength);
}

INSTANTIATE_TEST_SUITE_P(Rules, Decoding,
                         ::testing::Values(Case{true, 13, 4, 8, 4}, Case{true, 40, 4, 8, 4},
                                           Case{false, 1, 8, 16, 8}, Case{false, 50, 0, 5, 1},
                                           Case{true, 30, 3, 7, 1}, Case{true, 64, 8, 24, 8},
                                           Case{true, 20, 8, 128, 8}, Case{false, 74, 4, 4, 4}));

// A router that decides for layers: a layer that it makes sparse keeps the sink and the ring of every
// head and nothing else, and decodes what the forward pass gives.
class LayerDecoding : public ::testing::TestWithParam<bool> {};

TEST_P(LayerDecoding, ASparseLayerKeepsTheSinkAndTheRingOfAllHeads) {
  constexpr int64_t kLength = 60, kPrompt = 41, kLayers = 3, kHeads = 4, kDim = 6;
  CpuDevice cpu;
  parallel::SelfCommunicator self("tensor");
  model::ModelConfig config;
  config.qk_norm = GetParam();
  config.hidden_size = 24;
  config.intermediate_size = 20;
  config.num_layers = kLayers;
  config.q_heads = 8;
  config.kv_heads = kHeads;
  config.head_dim = kDim;
  config.vocab_size = 31;
  config.initializer_range = 0.3;
  model::Decoder decoder(config, {.dtype = DType::f64, .repack = false, .max_position = kLength},
                         self, cpu);
  decoder.initialise(5);

  auto routing = router::RouterConfig::of(router::Preset::flux);
  routing.ssa = {.sink = 4, .local = 8, .block = 4};
  routing.pool_budget = 5;
  router::LayerRouters routers(
      routing,
      {.layers = kLayers, .head_dim = kDim, .heads = router::KvHeads::whole(kHeads), .tasks = 5},
      DType::f64, 3, false, cpu);
  ParameterList parameters;
  routers.append_parameters(parameters);
  for (Parameter* p : parameters) {  // as they begin all layers are full: the second is not
    if (p->name == "router.layers.1.router.4.bias") {
      p->value.copy_from(Tensor::from(std::vector<double>{1, 0}, {2}, cpu));
    }
  }
  auto layers = routers.routed();
  const RandomStream stream(9, RandomPurpose::test);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < kLength; ++i) ids.push_back(int32_t(stream.bits_at(uint64_t(i)) % 31));
  const auto forward = [&](int64_t tokens, int64_t user, model::KvCache* cache) {
    data::Document document;
    document.ids.assign(ids.begin(), ids.begin() + tokens);
    document.user_length = user;
    const auto batch = data::make_packed_batch({&document});
    const auto rb = model::make_router_batch(batch, routing, 0, 1.0, false);
    return decoder.forward(model::DeviceBatch::make(batch, cpu), rb, layers, {.cache = cache})
        .to_vector<double>();
  };
  HeadCache cache(kLayers, kHeads, kDim, kLength, routing.streaming_rule(), DType::f64, cpu);
  forward(kPrompt, kPrompt, &cache);
  const int64_t kept = 4 + 8;  // rows of the sink and of the ring
  EXPECT_EQ(cache.bytes(), (2 * kLength + kept) * kHeads * kDim * 2 * 8);
  const auto whole = forward(kLength, kPrompt, nullptr);
  double worst = 0;
  for (int64_t t = kPrompt; t < kLength; ++t) {
    const Tensor id = Tensor::from(std::vector<int32_t>{ids[size_t(t)]}, {1}, cpu);
    const Tensor position = Tensor::from(std::vector<int32_t>{int32_t(t)}, {1}, cpu);
    const auto row = decoder.decode(id, position, cache).to_vector<double>();
    for (int64_t i = 0; i < config.hidden_size; ++i) {
      worst = std::max(worst, std::abs(row[size_t(i)] - whole[size_t(t * config.hidden_size + i)]));
    }
  }
  EXPECT_LT(worst, 1e-12);
}

INSTANTIATE_TEST_SUITE_P(WithoutAndWithQueryNorm, LayerDecoding, ::testing::Bool());

TEST(HeadCache, RefusesMoreThanItHasRoomFor) {
  CpuDevice cpu;
  HeadCache cache(1, 1, 2, 4, {.block = 1, .sink_blocks = 1, .local_blocks = 2}, DType::f32, cpu);
  const Tensor k = Tensor::zeros({5, 1, 2}, DType::f32, cpu);
  const Tensor gate = Tensor::zeros({1, 1}, DType::u8, cpu);
  EXPECT_THROW(cache.fill(0, k, k, gate), LogicError);
  const Tensor fits = k.slice(0, 0, 4), one = k.slice(0, 0, 1);
  cache.fill(0, fits, fits, gate);
  const Tensor fifth = Tensor::from(std::vector<int32_t>{4}, {1}, cpu);
  EXPECT_NO_THROW(cache.append(0, fifth, one, one));  // into the ring
  const Tensor full = Tensor::from(std::vector<uint8_t>{1}, {1, 1}, cpu);
  cache.fill(0, fits, fits, full);
  EXPECT_THROW(cache.append(0, fifth, one, one), LogicError);
}

}  // namespace
}  // namespace elastron::inference
