// Decoding token by token from a cache gives what one forward pass over the whole sequence gives.
#include <gtest/gtest.h>

#include <cmath>

#include "core/philox.h"
#include "data/document.h"
#include "inference/cache_batch.h"
#include "model/decoder.h"
#include "model/router_batch.h"
#include "router/layer_routers.h"

namespace elastron::inference {
namespace {

struct Case {
  bool qk_norm;
  int64_t prompt, sink, local, block, page_rows;
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
  const auto decode = [&](int64_t position, const model::KvBatch& sequences) {
    const auto one = [&](int32_t value) {
      return Tensor::from(std::vector<int32_t>{value}, {1}, cpu);
    };
    return decoder.decode(one(ids[size_t(position)]), one(int32_t(position)), sequences);
  };
  const auto whole = forward(kLength, nullptr);
  const auto bytes = [&](int64_t rows) { return rows * config.head_dim * 2 * 8; };
  CacheShape shape{.layers = kLayers,
                   .kv_heads = kHeads,
                   .most_tokens = kLength,
                   .rule = routing.streaming_rule()};
  PagePool pool(config.head_dim, DType::f64, {.page_rows = c.page_rows, .slab_pages = 7}, cpu);
  CacheBatch sequences(kLayers, kHeads, 1, pool);
  SequenceCache cache(shape, pool);
  forward(c.prompt, &cache);
  sequences.place(0, &cache);
  sequences.send();
  double worst = 0;
  for (int64_t t = c.prompt; t < kLength; ++t) {
    const auto row = decode(t, sequences).to_vector<double>();
    for (int64_t i = 0; i < config.hidden_size; ++i) {
      worst = std::max(worst, std::abs(row[size_t(i)] - whole[size_t(t * config.hidden_size + i)]));
    }
  }
  EXPECT_LT(worst, 1e-12);

  // Five of eight heads keep the sink and the window only.
  const int64_t kept = std::min(
      routing.streaming_rule().sink_tokens() + routing.streaming_rule().local_blocks * c.block,
      kLength);
  const auto paged = [&](int64_t rows) { return ceil_div(rows, c.page_rows) * c.page_rows; };
  EXPECT_EQ(cache.full_bytes(), bytes(8 * paged(kLength)));
  EXPECT_EQ(cache.bytes(), bytes(3 * paged(kLength) + 5 * paged(kept)));
  EXPECT_EQ(pool.used_pages() * c.page_rows, 3 * paged(kLength) + 5 * paged(kept));

  // With all keys in streaming heads the result is another one: the rule did matter.
  shape.keep_all = true;
  SequenceCache all(shape, pool);
  forward(c.prompt, &all);
  EXPECT_EQ(all.bytes(), bytes(8 * paged(kLength)));
  sequences.place(0, &all);
  sequences.send();
  double changed = 0;
  for (int64_t t = c.prompt; t < kLength; ++t) {
    const auto row = decode(t, sequences).to_vector<double>();
    changed = std::max(changed, std::abs(row[0] - whole[size_t(t * config.hidden_size)]));
  }
  EXPECT_EQ(changed > 1e-6, kept < kLength);
}

INSTANTIATE_TEST_SUITE_P(Rules, Decoding,
                         ::testing::Values(Case{true, 13, 4, 8, 4, 64}, Case{true, 40, 4, 8, 4, 1},
                                           Case{false, 1, 8, 16, 8, 5}, Case{false, 50, 0, 5, 1, 2},
                                           Case{true, 30, 3, 7, 1, 4}, Case{true, 64, 8, 24, 8, 16},
                                           Case{true, 20, 8, 128, 8, 8},
                                           Case{false, 74, 4, 4, 4, 3}));

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
  PagePool pool(kDim, DType::f64, {.page_rows = 4}, cpu);
  SequenceCache cache({.layers = kLayers,
                       .kv_heads = kHeads,
                       .most_tokens = kLength,
                       .rule = routing.streaming_rule()},
                      pool);
  forward(kPrompt, kPrompt, &cache);
  CacheBatch sequences(kLayers, kHeads, 1, pool);
  sequences.place(0, &cache);
  sequences.send();
  const int64_t kept = 4 + 8;  // rows of the sink and of the ring
  EXPECT_EQ(cache.bytes(), (2 * kLength + kept) * kHeads * kDim * 2 * 8);
  const auto whole = forward(kLength, kPrompt, nullptr);
  double worst = 0;
  for (int64_t t = kPrompt; t < kLength; ++t) {
    const Tensor id = Tensor::from(std::vector<int32_t>{ids[size_t(t)]}, {1}, cpu);
    const Tensor position = Tensor::from(std::vector<int32_t>{int32_t(t)}, {1}, cpu);
    const auto row = decoder.decode(id, position, sequences).to_vector<double>();
    for (int64_t i = 0; i < config.hidden_size; ++i) {
      worst = std::max(worst, std::abs(row[size_t(i)] - whole[size_t(t * config.hidden_size + i)]));
    }
  }
  EXPECT_LT(worst, 1e-12);
}

INSTANTIATE_TEST_SUITE_P(WithoutAndWithQueryNorm, LayerDecoding, ::testing::Bool());

class Caches : public ::testing::Test {
 protected:
  static constexpr int64_t kDim = 2;

  Tensor rows(int64_t n) { return Tensor::zeros({n, 1, kDim}, DType::f32, cpu_); }
  Tensor gate(uint8_t full) { return Tensor::from(std::vector<uint8_t>{full}, {1, 1}, cpu_); }
  CacheShape shape(int64_t tokens) const {
    return {.layers = 1,
            .kv_heads = 1,
            .most_tokens = tokens,
            .rule = {.block = 1, .sink_blocks = 1, .local_blocks = 2}};
  }

  CpuDevice cpu_;
};

TEST_F(Caches, RefuseMoreThanTheyHaveRoomFor) {
  PagePool pool(kDim, DType::f32, {.page_rows = 1}, cpu_);
  SequenceCache longer(shape(4), pool);
  EXPECT_THROW(longer.fill(0, rows(5), rows(5), gate(0)), LogicError);
  const Tensor fifth = Tensor::from(std::vector<int32_t>{4}, {1}, cpu_);
  for (const uint8_t full : {0, 1}) {
    SequenceCache cache(shape(4), pool);
    cache.fill(0, rows(4), rows(4), gate(full));
    CacheBatch batch(1, 1, 1, pool);
    batch.place(0, &cache);
    batch.send();
    const auto append = [&] { ops::append_to_cache(rows(1), rows(1), fifth, batch.layer(0)); };
    if (full != 0) {
      EXPECT_THROW(append(), LogicError);
    } else {
      EXPECT_NO_THROW(append());  // into the ring
    }
  }
}

TEST_F(Caches, GiveTheirPagesBack) {
  PagePool pool(kDim, DType::f32, {.page_rows = 2, .most_pages = 5, .slab_pages = 2}, cpu_);
  EXPECT_EQ(shape(7).most_pages(pool), 4);
  const int64_t before = cpu_.memory().in_use_bytes;
  for (int i = 0; i < 3; ++i) {
    SequenceCache cache(shape(7), pool);
    cache.fill(0, rows(6), rows(6), gate(1));
    EXPECT_EQ(pool.used_pages(), 4);
    EXPECT_EQ(pool.free_pages(), 1);
    SequenceCache other(shape(7), pool);
    EXPECT_THROW(other.fill(0, rows(6), rows(6), gate(1)), LogicError);
  }
  EXPECT_EQ(pool.used_pages(), 0);
  EXPECT_EQ(pool.free_pages(), 5);
  // What the first one needed serves the others.
  EXPECT_EQ(cpu_.memory().in_use_bytes - before, 4 * pool.page().bytes());
}

}  // namespace
}  // namespace elastron::inference
