// The whole model against tests/fixtures/decoder and decoder_experts, made by PyTorch (tests/oracle/
// make_decoder_fixtures.py): logits under several gates, losses, and all gradients. In float64 the
// two must agree to rounding; in float32 and bfloat16 to their precision.
#include <gtest/gtest.h>

#include <cmath>

#include "core/file/safetensors.h"
#include "model/decoder.h"
#include "model/router_batch.h"
#include "model/weights/model_folder.h"
#include "ops/elementwise.h"
#include "router/layer_routers.h"
#include "router/objective.h"
#include "router/sparsity.h"
#include "tests/support/gradcheck.h"
#include "tests/support/one_pack.h"
#include "train/step/head_counts.h"
#include "train/step/local_batch.h"

namespace elastron {
namespace {

const std::string kFixtures = std::string(ELASTRON_TEST_FIXTURES) + "/";

class DecoderFixture : public ::testing::Test {
 protected:
  explicit DecoderFixture(const std::string& name = "decoder") : folder_(kFixtures + name) {}
  void SetUp() override {
    const auto lengths = expected("lengths").to_vector<int32_t>();
    const auto tasks = expected("tasks").to_vector<int32_t>();
    const auto users = expected("user_lengths").to_vector<int32_t>();
    const auto ids = expected("token_ids").to_vector<int32_t>();
    std::vector<data::Document> documents;
    size_t at = 0;
    for (size_t d = 0; d < lengths.size(); ++d) {
      data::Document document;
      document.ids.assign(ids.begin() + std::ptrdiff_t(at),
                          ids.begin() + std::ptrdiff_t(at) + lengths[d]);
      document.user_length = users[d];
      document.task_id = tasks[d];
      at += size_t(lengths[d]);
      documents.push_back(document);
    }
    std::vector<const data::Document*> pointers;
    for (const auto& d : documents) pointers.push_back(&d);
    batch_ = data::make_packed_batch(pointers);

    const auto rule = expected("rule").to_vector<int32_t>();
    config_.ssa = {.sink = rule[0] * rule[1], .local = rule[0] * rule[2], .block = rule[0]};
    settings_ = expected("settings").to_vector<double>();
    config_.pool_budget = int64_t(settings_[3]);
    config_.task_widths[0] = config_.widths[0] = int64_t(settings_[4]);
    config_.reg.t_sen = settings_[5];
    config_.reg.t_rob = settings_[6];
  }

  Tensor expected(const std::string& name) { return file_.read(name, cpu_); }

  std::unique_ptr<model::Decoder> decoder(DType dtype, bool train,
                                          model::Recompute recompute = model::Recompute::none) {
    const model::ModelFolder folder(folder_);
    auto d = std::make_unique<model::Decoder>(folder.config(),
                                              model::DecoderOptions{.dtype = dtype,
                                                                    .train_backbone = train,
                                                                    .recompute = recompute,
                                                                    .max_position = 128,
                                                                    .loss_chunk_rows = 16},
                                              self_, cpu_);
    folder.load(d->parameters());
    return d;
  }

  std::vector<router::RoutedLayer> fixed(uint8_t gate) {
    std::vector<router::RoutedLayer> layers;
    for (int64_t l = 0; l < 2; ++l) {
      layers.emplace_back(l, 0, config_, std::vector<uint8_t>(4, gate));
    }
    return layers;
  }

  // Largest absolute difference, over the largest expected magnitude.
  double error(const Tensor& got, const std::string& name) {
    const auto want = ops::cast(expected(name), DType::f64).to_vector<double>();
    const auto have = ops::cast(got, DType::f64).to_vector<double>();
    EXPECT_EQ(want.size(), have.size()) << name;
    double worst = 0, scale = 0;
    for (size_t i = 0; i < std::min(want.size(), have.size()); ++i) {
      worst = std::max(worst, std::abs(want[i] - have[i]));
      scale = std::max(scale, std::abs(want[i]));
    }
    return worst / std::max(scale, 1e-30);
  }

  Tensor logits(model::Decoder& d, const Tensor& hidden) {
    for (Parameter* p : d.parameters()) {
      if (p->name == "lm_head.weight") {
        return ops::linear_forward(hidden, ops::LinearWeight(p->value, ops::WeightForm::in_place));
      }
    }
    ADD_FAILURE() << "no head";
    return {};
  }

  const std::string folder_;
  CpuDevice cpu_;
  SafetensorsFile file_{folder_ + "/expected.safetensors"};
  parallel::SelfCommunicator self_{"tensor"};
  data::PackedBatch batch_;
  router::RouterConfig config_;
  std::vector<double> settings_;
};

// Of both folders.
class DecoderOf : public DecoderFixture, public ::testing::WithParamInterface<const char*> {
 protected:
  DecoderOf() : DecoderFixture(GetParam()) {}
};
INSTANTIATE_TEST_SUITE_P(Fixtures, DecoderOf, ::testing::Values("decoder", "decoder_experts"),
                         [](const auto& of) { return std::string(of.param); });

TEST_P(DecoderOf, LogitsUnderFullAndSparseAttention) {
  struct Case {
    DType dtype;
    double tolerance;
  };
  // bfloat16 keeps 8 bits: about twenty roundings in a row over two layers.
  for (const Case c : {Case{DType::f64, 1e-12}, Case{DType::f32, 2e-5}, Case{DType::bf16, 0.06}}) {
    auto d = decoder(c.dtype, false);
    // Where tokens choose experts by logits of 8 bits, some go to others.
    if (d->config().experts && c.dtype == DType::bf16) continue;
    const auto on_device = model::DeviceBatch::make(batch_, cpu_);
    for (const auto& [gate, name] :
         {std::pair<uint8_t, const char*>{1, "full.logits"}, {0, "sparse.logits"}}) {
      auto layers = fixed(gate);
      const auto rb = model::make_router_batch(batch_, config_, 0, 1.0, false);
      const Tensor hidden = d->forward(on_device, rb, layers);
      EXPECT_LT(error(logits(*d, hidden), name), c.tolerance) << name << dtype_name(c.dtype);
    }
  }
  // The two differ: the fixture's documents are longer than the window.
  EXPECT_GT(error(expected("full.logits"), "sparse.logits"), 1e-3);
}

TEST_F(DecoderFixture, AllWeightGradientsOfPretraining) {
  for (const auto recompute :
       {model::Recompute::none, model::Recompute::selective, model::Recompute::layer}) {
    auto d = decoder(DType::f64, true, recompute);
    const auto on_device = model::DeviceBatch::make(batch_, cpu_);
    auto layers = fixed(1);
    const auto rb = model::make_router_batch(batch_, config_, 0, 1.0, false);
    model::SavedForward saved;
    const Tensor hidden = d->forward(on_device, rb, layers, {.saved = &saved});
    const double labels = double(batch_.labels());
    const auto loss =
        d->loss(hidden, on_device, {.need_gradient = true, .gradient_scale = 1 / labels});
    EXPECT_NEAR(loss.loss_sum() / labels, expected("full.loss").to_vector<double>()[0], 1e-12);
    int complete = 0;
    d->backward(loss.d_hidden, on_device, rb, layers, saved, {}, [&](Parameter&) { ++complete; });
    EXPECT_EQ(complete, int(d->parameters().size()));
    for (Parameter* p : d->parameters()) {
      EXPECT_LT(error(p->grad, "full.grad." + p->name), 1e-11) << p->name;
    }
  }
}

class Family : public ::testing::TestWithParam<bool> {};

// Without q/k norm, with RoPE scaled in two ways, without and with biases: gradients against finite
// differences.
TEST_P(Family, GradientsAreTheDerivativesOfTheLoss) {
  CpuDevice cpu;
  parallel::SelfCommunicator self("tensor");
  model::ModelConfig config;
  config.qk_norm = false;
  config.qkv_bias = GetParam();
  config.hidden_size = 12;
  config.intermediate_size = 10;
  config.num_layers = 2;
  config.q_heads = 4;
  config.kv_heads = 2;
  config.head_dim = 6;
  config.vocab_size = 17;
  config.initializer_range = 0.4;
  config.rope = {.theta = 100.0, .scaling = ops::Llama3RopeScaling{.original_max_position = 8}};
  if (GetParam()) {
    config.rope.scaling = ops::YarnRopeScaling{
        .factor = 4, .original_max_position = 8, .attention_factor = 1.4, .beta_fast = 2};
  }
  model::Decoder decoder(config, {.dtype = DType::f64, .train_backbone = true, .max_position = 32},
                         self, cpu);
  decoder.initialise(3);
  for (Parameter* p : decoder.parameters()) {
    if (!parallel::is_bias(*p)) continue;  // they start at 0
    p->value.copy_from(test::random_tensor(p->value.shape(), DType::f64, cpu, 5));
  }
  const RandomStream stream(7, RandomPurpose::test);
  data::Document documents[2];
  for (int64_t d = 0; d < 2; ++d) {
    for (int64_t i = 0; i < 9 + 8 * d; ++i) {
      documents[d].ids.push_back(int32_t(stream.uniform_at(uint64_t(100 * d + i)) * 17));
    }
    documents[d].user_length = 5;
  }
  const auto batch = data::make_packed_batch({&documents[0], &documents[1]});
  router::RouterConfig routing;
  routing.ssa = {.sink = 2, .local = 4, .block = 2};
  std::vector<router::RoutedLayer> layers;
  layers.emplace_back(0, 0, routing, std::vector<uint8_t>{1, 0});
  layers.emplace_back(1, 0, routing, std::vector<uint8_t>{0, 1});
  const auto rb = model::make_router_batch(batch, routing, 0, 1.0, false);
  const auto loss = [&] {
    return decoder
        .loss(decoder.forward(model::DeviceBatch::make(batch, cpu), rb, layers),
              model::DeviceBatch::make(batch, cpu), {})
        .loss_sum();
  };
  const auto on_device = model::DeviceBatch::make(batch, cpu);
  model::SavedForward saved;
  const Tensor hidden = decoder.forward(on_device, rb, layers, {.saved = &saved});
  const auto result = decoder.loss(hidden, on_device, {.need_gradient = true});
  decoder.backward(result.d_hidden, on_device, rb, layers, saved, {}, [](Parameter&) {});
  EXPECT_EQ(decoder.parameters().size(), (config.qkv_bias ? 2 * 12 : 2 * 9) + 3u);
  for (Parameter* p : decoder.parameters()) {
    test::expect_gradient(p->value, p->grad, loss, p->name);
  }
}

INSTANTIATE_TEST_SUITE_P(WithoutAndWithBiases, Family, ::testing::Bool());

TEST_P(DecoderOf, RouterTraining) {
  for (const auto recompute :
       {model::Recompute::none, model::Recompute::selective, model::Recompute::layer}) {
    auto d = decoder(DType::f64, false, recompute);
    const auto seed = uint64_t(settings_[0]);
    std::vector<std::unique_ptr<router::AttentionRouter>> routers;
    std::vector<router::RoutedLayer> layers;
    ParameterList parameters;
    for (int64_t l = 0; l < 2; ++l) {
      routers.push_back(std::make_unique<router::AttentionRouter>(l, 16, 5, config_, DType::f64,
                                                                  seed, true, cpu_));
      routers.back()->append_parameters(parameters);
      layers.emplace_back(l, 0, config_, seed, *routers.back());
    }
    router::SparsityObjective objective(config_.reg,
                                        router::task_targets(config_.reg, data::kTaskNames),
                                        DType::f64, seed, true, cpu_);
    ParameterList lambdas;
    objective.append_parameters(lambdas);
    for (Parameter* p : parameters) {
      ops::cast_into(expected("router.param." + p->name), p->value);
    }
    ops::cast_into(expected("lambda1"), lambdas[0]->value);
    ops::cast_into(expected("lambda2"), lambdas[1]->value);

    const auto on_device = model::DeviceBatch::make(batch_, cpu_);
    const auto rb =
        model::make_router_batch(batch_, config_, int64_t(settings_[1]), settings_[2], true);
    model::SavedForward saved;
    model::RoutedHeads heads;
    const Tensor hidden = d->forward(on_device, rb, layers, {.saved = &saved, .heads = &heads});
    EXPECT_LT(error(logits(*d, hidden), "router.logits"), 1e-12);
    std::vector<uint8_t> z, want_z = expected("router.z").to_vector<uint8_t>();
    double p_error = 0;
    const auto want_p = expected("router.p").to_vector<double>();
    size_t at = 0;
    for (size_t l = 0; l < 2; ++l) {
      for (const uint8_t g : heads.gates[l].to_vector<uint8_t>()) z.push_back(g);
      for (const double p : saved.layers[l].attention.route.probability.to_vector<double>()) {
        p_error = std::max(p_error, std::abs(p - want_p[at++]));
      }
    }
    EXPECT_EQ(z, want_z);
    // The noise is float32 on both sides, through two libraries' logf.
    EXPECT_LT(p_error, 1e-6);

    const double labels = double(batch_.labels());
    const auto loss =
        d->loss(hidden, on_device, {.need_gradient = true, .gradient_scale = 1 / labels});
    EXPECT_NEAR(loss.loss_sum() / labels, expected("router.lm_loss").to_vector<double>()[0], 1e-12);
    parallel::Mesh mesh = parallel::Mesh::single();
    const auto counts =
        train::count_heads(heads, batch_, *on_device.exchange, ops::HeadPattern{}, 2, mesh);
    std::vector<double> msr;
    for (const auto& document : counts.documents) msr.push_back(double(document.sparse) / 8.0);
    const auto value = test::evaluate_packs(objective, batch_.task_ids, msr, batch_.pack_ends, 1.0);
    EXPECT_NEAR(value.value, expected("router.reg").to_vector<double>()[0], 1e-12);

    std::vector<double> d_gate;
    for (int64_t s = 0; s < batch_.sequences(); ++s) {
      for (int h = 0; h < 4; ++h) d_gate.push_back(-value.d_msr[size_t(s)] / 8.0);
    }
    const Tensor dg = Tensor::from(d_gate, {batch_.sequences(), 4}, cpu_);
    d->backward(loss.d_hidden, on_device, rb, layers, saved, {dg, dg}, [](Parameter&) {});
    for (Parameter* p : parameters) {
      EXPECT_LT(error(p->grad, "router.grad." + p->name), 2e-6) << p->name;
    }
    EXPECT_LT(error(lambdas[0]->grad, "lambda1.grad"), 1e-12);
    EXPECT_LT(error(lambdas[1]->grad, "lambda2.grad"), 1e-12);
    // Frozen is frozen: no gradient was ever allocated.
    for (const Parameter* p : d->parameters()) EXPECT_FALSE(p->grad.defined()) << p->name;
  }
}

// A gate per layer from its queries, where the backbone trains too: what is pooled is reached by the
// way back through RoPE and q_norm as well.
TEST_F(DecoderFixture, RouterByLayerAndBackbone) {
  const SafetensorsFile file(folder_ + "/layer_router.safetensors");
  const auto expect = [&](const Tensor& got, const std::string& name, double tolerance) {
    const auto want = file.read(name, cpu_).to_vector<double>(), have = got.to_vector<double>();
    ASSERT_EQ(want.size(), have.size()) << name;
    double scale = 0;
    for (const double v : want) scale = std::max(scale, std::abs(v));
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(have[i], want[i], tolerance * scale) << name << " " << i;
    }
  };
  config_.granularity = router::Granularity::layer;
  config_.input = router::RouterInput::query;
  config_.task_widths = {1, 2};
  config_.widths = {2, 1};
  for (const auto recompute :
       {model::Recompute::none, model::Recompute::selective, model::Recompute::layer}) {
    auto d = decoder(DType::f64, true, recompute);
    router::LayerRouters routers(config_,
                                 {.layers = 2,
                                  .head_dim = 16,
                                  .heads = router::KvHeads::whole(4),
                                  .tasks = 5,
                                  .tensor = &self_},
                                 DType::f64, uint64_t(settings_[0]), true, cpu_);
    ParameterList parameters;
    routers.append_parameters(parameters);
    for (Parameter* p : parameters) ops::cast_into(file.read("param." + p->name, cpu_), p->value);
    auto layers = routers.routed();

    const auto on_device = model::DeviceBatch::make(batch_, cpu_);
    const auto rb =
        model::make_router_batch(batch_, config_, int64_t(settings_[1]), settings_[2], true);
    model::SavedForward saved;
    model::RoutedHeads heads;
    const Tensor hidden = d->forward(on_device, rb, layers, {.saved = &saved, .heads = &heads});
    std::vector<uint8_t> z;
    std::vector<double> p;
    for (size_t l = 0; l < 2; ++l) {
      for (const uint8_t g : heads.gates[l].to_vector<uint8_t>()) z.push_back(g);
      for (const double v : saved.layers[l].attention.route.probability.to_vector<double>()) {
        p.push_back(v);
      }
    }
    EXPECT_EQ(z, file.read("z", cpu_).to_vector<uint8_t>());
    // The noise is float32 on both sides, through two libraries' logf.
    expect(Tensor::from(p, {int64_t(p.size())}, cpu_), "p", 1e-6);

    const double labels = double(batch_.labels());
    const auto loss =
        d->loss(hidden, on_device, {.need_gradient = true, .gradient_scale = 1 / labels});
    expect(Tensor::from(std::vector<double>{loss.loss_sum() / labels}, {1}, cpu_), "lm_loss",
           1e-12);
    d->backward(loss.d_hidden, on_device, rb, layers, saved, {}, [](Parameter&) {});
    for (Parameter* parameter : parameters) {
      expect(parameter->grad, "grad." + parameter->name, 2e-6);
    }
    for (Parameter* parameter : d->parameters()) {
      for (const std::string leaf : {"self_attn.q_norm", "self_attn.q_proj", "self_attn.k_norm"}) {
        if (parameter->name == "model.layers.0." + leaf + ".weight") {
          expect(parameter->grad, "grad." + leaf, 2e-6);
        }
      }
    }
  }
}

}  // namespace
}  // namespace elastron
