// Routers that decide for a layer, and routers that read queries: values and gradients against
// tests/fixtures/layer_router, made by PyTorch (tests/oracle/make_layer_router_fixtures.py); sizes
// and the first gates of the network of Flux Attention (docs/method.md, Routing by layer). Gradients
// by differences: gradient_chain_test.cpp; over ranks: layer_router_ranks_test.cpp.
#include <gtest/gtest.h>

#include <cmath>
#include <span>

#include "core/file/safetensors.h"
#include "ops/elementwise.h"
#include "router/forced_gate.h"
#include "router/routed_layer.h"
#include "tests/support/scratch.h"

namespace elastron::router {
namespace {

struct Case {
  const char* file;
  Granularity granularity;
  RouterInput input;
  DType dtype;
  double tolerance;  // of the largest value of each tensor
};

class LayerRouterFixture : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const Case& c = GetParam();
    file_ = std::make_unique<SafetensorsFile>(std::string(ELASTRON_TEST_FIXTURES) +
                                              "/layer_router/" + c.file + ".safetensors");
    const auto settings = tensor("settings").to_vector<int64_t>();
    const auto widths = tensor("widths").to_vector<int64_t>();
    config_.granularity = c.granularity;
    config_.input = c.input;
    config_.pool_budget = settings[4];
    config_.task_widths = {widths[0], widths[1]};
    config_.widths = {widths[2], widths[3]};
    if (std::string(c.file) == "layer_key") config_.kind = Kind::sigmoid;

    cu_seqlens_ = tensor("cu_seqlens").to_vector<int32_t>();
    for (const int64_t key : tensor("sample_keys").to_vector<int64_t>()) {
      sample_keys_.push_back(uint32_t(key));
    }
    const auto segments = tensor("segments").to_vector<int64_t>();
    for (size_t s = 0; s < sample_keys_.size(); ++s) {
      batch_.segments.push_back(
          {cu_seqlens_[s] + segments[2 * s], cu_seqlens_[s] + segments[2 * s + 1] + 1});
    }
    batch_.sample_keys = sample_keys_;
    batch_.step = uint32_t(settings[1]);
    batch_.tau = tensor("tau").to_vector<double>()[0];
    batch_.sample = true;

    states_ = ops::cast(tensor("states"), c.dtype);
    router_ = std::make_unique<AttentionRouter>(settings[2], states_.size(2), 5, config_, c.dtype,
                                                uint64_t(settings[0]), true, cpu_);
    router_->append_parameters(parameters_);
    const std::string prefix = "router.layers." + std::to_string(settings[2]) + ".";
    for (Parameter* p : parameters_) {
      leaves_.push_back(p->name.substr(prefix.size()));
      ops::cast_into(tensor("param." + leaves_.back()), p->value);
    }
    routed_ =
        std::make_unique<RoutedLayer>(settings[2], settings[3], config_, uint64_t(settings[0]),
                                      *router_, LayerHeads{.kv_heads = settings[5]});
  }

  Tensor tensor(const std::string& name) { return file_->read(name, cpu_); }
  void expect_close(const Tensor& got, const std::string& name) {
    const auto want = tensor(name).to_vector<double>();
    const auto have = ops::cast(got, DType::f64).to_vector<double>();
    ASSERT_EQ(want.size(), have.size()) << name;
    double scale = 0;
    for (const double v : want) scale = std::max(scale, std::abs(v));
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(have[i], want[i], GetParam().tolerance * scale) << name << " " << i;
    }
  }
  void expect_gates(const SavedRoute& route, const std::string& name) {
    EXPECT_EQ(route.gate.shape(), tensor(name).shape());
    EXPECT_EQ(route.gate.to_vector<uint8_t>(), tensor(name).to_vector<uint8_t>()) << name;
  }

  CpuDevice cpu_;
  std::unique_ptr<SafetensorsFile> file_;
  RouterConfig config_;
  std::vector<int32_t> cu_seqlens_;
  std::vector<uint32_t> sample_keys_;
  RouterBatch batch_;
  Tensor states_;
  std::unique_ptr<AttentionRouter> router_;
  ParameterList parameters_;
  std::vector<std::string> leaves_;
  std::unique_ptr<RoutedLayer> routed_;
};

TEST_P(LayerRouterFixture, ForwardAndBackward) {
  EXPECT_EQ(routed_->reads_queries(), config_.input == RouterInput::query);
  expect_close(router_->forward(ops::cast(tensor("pooled"), states_.dtype()), nullptr), "logits");
  const auto documents = int64_t(sample_keys_.size());
  SavedRoute route, decided;
  routed_->decide(states_, documents, batch_, route);
  expect_close(route.probability, "p");
  expect_gates(route, "z");
  RouterBatch evaluation = batch_;
  evaluation.sample = false;
  routed_->decide(states_, documents, evaluation, decided);
  expect_gates(decided, "z_eval");

  Tensor d_states = Tensor::zeros(states_.shape(), states_.dtype(), cpu_);
  size_t complete = 0;
  routed_->backward(ops::cast(tensor("d_gate"), states_.dtype()), {}, batch_, route, &d_states,
                    [&](Parameter&) { ++complete; });
  EXPECT_EQ(complete, parameters_.size());
  expect_close(d_states, "dx");
  for (size_t i = 0; i < parameters_.size(); ++i) {
    expect_close(parameters_[i]->grad, "grad." + leaves_[i]);
  }
}

// float64 differs by the float32 noise, which two libraries' logf round differently.
constexpr auto f64 = DType::f64, f32 = DType::f32;
constexpr auto kLayer = Granularity::layer, kHead = Granularity::head;
constexpr auto kQuery = RouterInput::query, kKey = RouterInput::key;
INSTANTIATE_TEST_SUITE_P(Cases, LayerRouterFixture,
                         ::testing::Values(Case{"flux", kLayer, kQuery, f64, 1e-6},
                                           Case{"flux", kLayer, kQuery, f32, 1e-5},
                                           Case{"layer_key", kLayer, kKey, f64, 1e-6},
                                           Case{"layer_key", kLayer, kKey, f32, 1e-5},
                                           Case{"head_query", kHead, kQuery, f64, 1e-6},
                                           Case{"head_query", kHead, kQuery, f32, 1e-5}),
                         [](const auto& test) {
                           return std::string(test.param.file) + "_" +
                                  std::string(dtype_name(test.param.dtype));
                         });

// Parameters of a layer's router with head_dim 128, whose tensors begin with `prefix`.
int64_t count(Preset preset, const std::string& prefix) {
  int64_t parameters = 0;
  for (const RouterTensor& t : router_tensors(128, 5, RouterConfig::of(preset))) {
    if (t.leaf.starts_with(prefix)) parameters += t.shape.numel();
  }
  return parameters;
}

TEST(PublishedNetworks, HaveTheirNumberOfParameters) {
  EXPECT_EQ(count(Preset::elastic, ""), 263'682);
  EXPECT_EQ(count(Preset::elastic, "task."), 131'712);
  EXPECT_EQ(count(Preset::flux, "task."), 394'496);
  EXPECT_EQ(count(Preset::flux, "router."), 197'506);
  EXPECT_EQ(count(Preset::flux, ""), 394'496 + 197'506);
}

// The task MLP is drawn as ever, the router MLP's hidden weights from U(+-1/sqrt(fan_in)), and the
// last layer has P(FA) = 0.989 for whatever is read.
TEST(PublishedNetworks, FluxBeginsAlmostFull) {
  CpuDevice cpu;
  const RouterConfig config = RouterConfig::of(Preset::flux);
  AttentionRouter router(3, 32, 5, config, DType::f32, 17, true, cpu);
  ParameterList list;
  router.append_parameters(list);
  std::map<std::string, std::vector<float>> values;
  for (const Parameter* p : list) {
    values[p->name.substr(std::string("router.layers.3.").size())] = p->value.to_vector<float>();
    EXPECT_FALSE(p->gradient_partial_over_tensor);
  }
  for (const auto& [leaf, fan_in] :
       {std::pair{"router.0.weight", 64.0}, {"router.2.weight", 128.0}}) {
    const double bound = 1 / std::sqrt(fan_in);
    double largest = 0, square = 0;
    for (const float v : values[leaf]) {
      largest = std::max(largest, double(std::abs(v)));
      square += double(v) * double(v);
    }
    EXPECT_LE(largest, bound) << leaf;
    EXPECT_GT(largest, 0.99 * bound) << leaf;
    // The variance of a uniform number, to four standard deviations of its estimate.
    const auto n = double(values[leaf].size());
    EXPECT_NEAR(square / n, bound * bound / 3, 4 * bound * bound * std::sqrt(4.0 / 45 / n)) << leaf;
  }
  for (const char* leaf :
       {"task.0.bias", "task.2.bias", "router.0.bias", "router.2.bias", "router.4.weight"}) {
    for (const float v : values[leaf]) EXPECT_EQ(v, 0.0f) << leaf;
  }
  EXPECT_EQ(values["router.4.bias"], (std::vector<float>{0.0f, 4.5f}));
  double square = 0;
  for (const float v : values["task.0.weight"]) square += double(v) * double(v);
  EXPECT_NEAR(std::sqrt(square / double(values["task.0.weight"].size())), 0.02, 0.001);

  // 1 / (1 + e^-4.5) = 0.98901; drawn, as often as that.
  RoutedLayer routed(3, 0, config, 17, router, {.kv_heads = 2});
  constexpr int64_t kDocuments = 4000;
  std::vector<uint32_t> keys(kDocuments);
  RouterBatch batch;
  for (size_t s = 0; s < keys.size(); ++s) {
    keys[s] = uint32_t(s);
    batch.segments.push_back({int64_t(s), int64_t(s) + 1});
  }
  batch.sample_keys = keys;
  const Tensor queries = Tensor::zeros({kDocuments, 4, 32}, DType::f32, cpu);
  SavedRoute decided, drawn;
  routed.decide(queries, kDocuments, batch, decided);
  for (const float p : decided.probability.to_vector<float>()) ASSERT_NEAR(p, 0.98901, 1e-5);
  batch.sample = true;
  routed.decide(queries, kDocuments, batch, drawn);
  const auto z = drawn.gate.to_vector<uint8_t>();
  int64_t full = 0;
  for (size_t s = 0; s < keys.size(); ++s) {
    ASSERT_EQ(z[2 * s], z[2 * s + 1]);  // one decision
    full += z[2 * s];
  }
  // Four standard deviations of a binomial share.
  EXPECT_NEAR(double(full) / kDocuments, 0.98901, 4 * std::sqrt(0.98901 * 0.01099 / kDocuments));
}

// The noise is named by document and layer: which heads a rank has does not matter.
TEST(LayerRouter, NoiseIsTheLayers) {
  CpuDevice cpu;
  RouterConfig config;
  config.granularity = Granularity::layer;
  AttentionRouter router(0, 4, 5, config, DType::f64, 5, true, cpu);
  const std::vector<uint32_t> keys = {1, 2, 3, 4, 5, 6, 7, 8};
  RouterBatch batch;
  for (int64_t s = 0; s < 8; ++s) batch.segments.push_back({s, s + 1});
  batch.sample_keys = keys;
  batch.sample = true;
  const Tensor states = Tensor::zeros({8, 1, 4}, DType::f64, cpu);
  const auto drawn = [&](int64_t layer, int64_t first) {
    SavedRoute route;
    RoutedLayer(layer, first, config, 5, router).decide(states, 8, batch, route);
    return route.probability.to_vector<double>();
  };
  EXPECT_EQ(drawn(0, 0), drawn(0, 3));
  EXPECT_NE(drawn(0, 0), drawn(1, 0));
}

TEST(LayerGates, RandomOnesAreTheSameForAllHeads) {
  const auto gates = parse_force("random:0.5:3", 8, 4, Granularity::layer).gates;
  int sparse = 0;
  for (const auto& layer : gates) {
    EXPECT_EQ(layer, std::vector<uint8_t>(4, layer.front()));
    sparse += layer.front() == 0 ? 1 : 0;
  }
  EXPECT_EQ(sparse, 4);

  CpuDevice cpu;
  RouterConfig config;
  config.granularity = Granularity::layer;
  const RandomGates random{.sequence_share = 1, .sparse_probability = 0.5, .seed = 6};
  std::vector<uint32_t> keys(64);
  for (size_t s = 0; s < keys.size(); ++s) keys[s] = uint32_t(s);
  RouterBatch batch;
  batch.sample_keys = keys;
  std::vector<uint8_t> of_ranks[2];
  for (const int64_t rank : {0, 1}) {
    SavedRoute route;
    RoutedLayer(1, 2 * rank, config, random)
        .decide(Tensor::zeros({64, 2, 1}, DType::f32, cpu), 64, batch, route);
    of_ranks[rank] = route.gate.to_vector<uint8_t>();
  }
  EXPECT_EQ(of_ranks[0], of_ranks[1]);
  int full = 0;
  for (size_t s = 0; s < keys.size(); ++s) {
    ASSERT_EQ(of_ranks[0][2 * s], of_ranks[0][2 * s + 1]);
    full += of_ranks[0][2 * s];
  }
  EXPECT_GT(full, 16);
  EXPECT_LT(full, 48);
}

TEST(LayerGates, FilesGiveALayerOneGate) {
  const test::Scratch scratch;
  const std::string path = scratch / "gates.tsv";
  const auto force = [&](const std::string& text) {
    scratch.write("gates.tsv", text);
    return parse_force("static:" + path, 2, 3, Granularity::layer).gates;
  };
  EXPECT_EQ(force("1 1 1\n0 0 0\n"), (StaticGates{{1, 1, 1}, {0, 0, 0}}));
  try {
    force("1 1 1\n0 1 0\n");
    ADD_FAILURE() << "not refused";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("heads of layer 1"), std::string::npos)
        << error.what();
  }
  EXPECT_THROW(parse_force("scores:" + path + ":0.5", 2, 3, Granularity::layer), UsageError);
}

}  // namespace
}  // namespace elastron::router
