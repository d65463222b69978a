// Reward training against tests/fixtures/reward, made by PyTorch (tests/oracle/
// make_reward_fixtures.py): scores, losses and gradients of the head, the trunk and the adapters,
// with prompts computed once and apart. (docs/method.md, Worked values of pairs, 1 to 5 and 13)
#include "train/step/reward_loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "core/file/safetensors.h"
#include "core/json.h"
#include "model/decoder.h"
#include "model/router_batch.h"
#include "model/weights/model_folder.h"
#include "ops/elementwise.h"
#include "reward/pair_batch.h"
#include "tests/support/gradcheck.h"
#include "train/reward_workload.h"
#include "train/step/step.h"

namespace elastron {
namespace {

const std::string kFolder = std::string(ELASTRON_TEST_FIXTURES) + "/reward";

nlohmann::json scalars() {
  std::ifstream in(kFolder + "/scalars.json");
  return nlohmann::json::parse(in);
}

CpuDevice& device() {
  static CpuDevice cpu;
  return cpu;
}

// What trains.
enum class Trains { head, all, adapters };

struct Options {
  DType dtype = DType::f64;
  Trains trains = Trains::all;
  bool simpo = false;
  bool share = true;
  model::Recompute recompute = model::Recompute::none;
};

// A reward model on the fixture's folder, its pairs and its loss.
class Judge {
 public:
  explicit Judge(const Options& options) : options_(options) {
    const nlohmann::json s = scalars();
    model::DecoderOptions decoder_options{.dtype = options.dtype,
                                          .train_backbone = options.trains == Trains::all,
                                          .lm_head = options.simpo,
                                          .recompute = options.recompute,
                                          .max_position = 64};
    if (options.trains == Trains::adapters) {
      decoder_options.lora = {.rank = s["settings"]["rank"],
                              .alpha = s["settings"]["alpha"],
                              .targets = s["settings"]["targets"]};
      decoder_options.train_lora = true;
    }
    const model::ModelFolder folder(kFolder);
    decoder = std::make_unique<model::Decoder>(folder.config(), decoder_options, self_, cpu);
    folder.load(decoder->parameters());
    for (Parameter* p : decoder->adapters()) fill(*p, "lora.param." + p->name);
    if (!options.simpo) {
      head = std::make_unique<reward::RewardHead>(folder.config().hidden_size,
                                                  accumulator_dtype(options.dtype), 1, true, cpu);
      fill(head->parameter(), "score.weight");
    }
    for (int64_t l = 0; l < folder.config().num_layers; ++l) {
      routed.emplace_back(l, 0, routing, std::vector<uint8_t>(size_t(folder.config().kv_heads), 1));
    }
    for (const auto& pair : s["pairs"]) {
      reward::PairDocument document;
      document.ids.sequences = {pair["chosen"].get<std::vector<int32_t>>(),
                                pair["rejected"].get<std::vector<int32_t>>()};
      document.ids.shared = int64_t(pair["prompt"].size());
      for (const auto& ids : document.ids.sequences) {
        document.ids.response_tokens.push_back(int64_t(ids.size()) - document.ids.shared);
      }
      document.margin = s["settings"]["margins"][pairs.size()];
      pairs.push_back(document);
    }
    config.loss = options.simpo ? reward::LossKind::simpo : reward::LossKind::bradley_terry;
    config.simpo.beta = s["settings"]["beta"];
    config.simpo.gamma = s["settings"]["gamma"];
    remake();
  }

  // After a change of the pairs.
  void remake() {
    std::vector<const reward::PairDocument*> pointers;
    for (const auto& pair : pairs) pointers.push_back(&pair);
    batch = reward::make_pair_batch(pointers, {.share = options_.share, .labels = options_.simpo});
  }

  Tensor hidden(model::SavedForward* saved = nullptr) {
    const auto rb = model::make_router_batch(batch, routing, 0, 1.0, false);
    return decoder->forward(model::DeviceBatch::make(batch, cpu), rb, routed, {.saved = saved});
  }
  std::vector<double> rewards() {
    reward::RewardHead::Saved unused;
    std::vector<double> out;
    for (const auto& s : reward::head_scores(*head, hidden(), batch, self_, unused).pairs) {
      out.push_back(s.chosen);
      out.insert(out.end(), s.rejected.begin(), s.rejected.end());
    }
    return out;
  }
  // The mean loss; with `backward` all gradients too.
  double loss(bool backward) {
    train::RewardLoss pair_loss(config, *decoder, head.get(), 3, self_);
    model::SavedForward saved;
    const auto on_device = model::DeviceBatch::make(batch, cpu);
    const auto rb = model::make_router_batch(batch, routing, 0, 1.0, false);
    const Tensor h =
        decoder->forward(on_device, rb, routed, {.saved = backward ? &saved : nullptr});
    const double scale = 1 / double(pairs.size());
    auto value = pair_loss.evaluate(h, on_device, scale, backward, [](Parameter&) {});
    if (backward) {
      decoder->backward(std::move(value.d_hidden), on_device, rb, routed, saved, {},
                        [](Parameter&) {});
    }
    return value.sum * scale;
  }
  std::vector<Parameter*> trained() {
    ParameterList list = options_.trains == Trains::all ? decoder->parameters() : ParameterList{};
    list.insert(list.end(), decoder->adapters().begin(), decoder->adapters().end());
    if (head) list.push_back(&head->parameter());
    return list;
  }

  static Tensor expected(const std::string& name) {
    static const SafetensorsFile file(kFolder + "/expected.safetensors");
    return file.read(name, device());
  }
  static bool has(const std::string& name) {
    static const SafetensorsFile file(kFolder + "/expected.safetensors");
    return file.entries().contains(name);
  }

  CpuDevice& cpu = device();
  std::unique_ptr<model::Decoder> decoder;
  std::unique_ptr<reward::RewardHead> head;
  std::vector<router::RoutedLayer> routed;
  router::RouterConfig routing;
  reward::RewardConfig config;
  std::vector<reward::PairDocument> pairs;
  data::PackedBatch batch;

 private:
  static void fill(Parameter& p, const std::string& name) {
    ops::cast_into(expected(name), p.value);
    if (p.master.defined() && p.master.raw() != p.value.raw()) {
      ops::cast_into(expected(name), p.master);
    }
  }

  Options options_;
  parallel::SelfCommunicator self_{"tensor"};
};

// Norm of the difference, over the expected norm (or 1e-3: a gradient that is nearly nothing).
double error(const Tensor& got, const Tensor& want) {
  const auto a = ops::cast(got, DType::f64).to_vector<double>();
  const auto b = ops::cast(want, DType::f64).to_vector<double>();
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference) / std::max(std::sqrt(norm), 1e-3);
}

// Norm weights are sums over all tokens of rounded numbers: of no use in bfloat16.
void expect_gradients(Judge& judge, const std::string& prefix, double tolerance, int at_least,
                      bool matrices_only = false) {
  int compared = 0;
  for (Parameter* p : judge.trained()) {
    const std::string name = prefix + ".grad." + p->name;
    if (!Judge::has(name) || (matrices_only && p->logical_shape.rank() < 2)) continue;
    ++compared;
    EXPECT_LT(error(p->grad, Judge::expected(name)), tolerance) << name;
  }
  EXPECT_GE(compared, at_least) << prefix;
}

double loss_of(const std::string& name) {
  return Judge::expected(name + ".loss").to_vector<double>()[0];
}

TEST(RewardLoss, BradleyTerryThroughTheWholeModel) {
  struct Case {
    DType dtype;
    double loss, gradient;
  };
  for (const Case c : {Case{DType::f64, 1e-12, 1e-10}, Case{DType::f32, 1e-5, 1e-4},
                       Case{DType::bf16, 0.03, 0.03}}) {
    for (const bool share : {true, false}) {
      Judge judge({.dtype = c.dtype, .share = share});
      EXPECT_NEAR(judge.loss(true), loss_of("bt"), c.loss) << dtype_name(c.dtype) << share;
      const bool rounded = c.dtype == DType::bf16;
      expect_gradients(judge, "bt", c.gradient, rounded ? 5 : 8, rounded);
    }
  }
}

TEST(RewardLoss, RewardsAreTheOracles) {
  for (const bool share : {true, false}) {
    Judge judge({.share = share});
    const auto want = Judge::expected("bt.rewards").to_vector<double>();
    const auto got = judge.rewards();
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-12) << i;
  }
}

TEST(RewardLoss, MarginAndSmoothing) {
  Judge margin({});
  margin.config.margin = true;
  EXPECT_NEAR(margin.loss(false), loss_of("bt_margin"), 1e-12);
  Judge smooth({});
  smooth.config.label_smoothing = scalars()["settings"]["label_smoothing"];
  EXPECT_NEAR(smooth.loss(false), loss_of("bt_smoothing"), 1e-12);
}

TEST(RewardLoss, Adapters) {
  for (const auto recompute :
       {model::Recompute::none, model::Recompute::selective, model::Recompute::layer}) {
    for (const bool share : {true, false}) {
      Judge judge({.trains = Trains::adapters, .share = share, .recompute = recompute});
      EXPECT_NEAR(judge.loss(true), loss_of("bt_lora"), 1e-12);
      expect_gradients(judge, "bt_lora", 1e-10, 17);
    }
  }
}

TEST(RewardLoss, SimpoOnTheWholeModelAndOnAdapters) {
  for (const bool share : {true, false}) {
    Judge all({.simpo = true, .share = share});
    EXPECT_NEAR(all.loss(true), loss_of("simpo"), 1e-12);
    expect_gradients(all, "simpo", 1e-10, 7);
    Judge adapters({.trains = Trains::adapters, .simpo = true, .share = share});
    EXPECT_NEAR(adapters.loss(true), loss_of("simpo_lora"), 1e-12);
    expect_gradients(adapters, "simpo_lora", 1e-10, 16);
  }
}

TEST(RewardLoss, FiniteDifferencesOfSimpoWithLikelihoodTerm) {
  Judge judge({.trains = Trains::adapters, .simpo = true});
  judge.config.simpo.nll = 0.3;
  judge.config.label_smoothing = 0.1;
  // Two rejected responses: their mean is what counts.
  judge.pairs[0].ids.sequences.push_back({22, 47, 41, 5, 6, 7});
  judge.pairs[0].ids.response_tokens.push_back(3);
  judge.remake();
  judge.loss(true);
  for (Parameter* p : judge.decoder->adapters()) {
    if (!p->name.ends_with("v_proj.lora_B.weight")) continue;
    test::expect_gradient(
        p->value, p->grad, [&] { return judge.loss(false); }, p->name);
  }
}

TEST(RewardLoss, FiniteDifferencesOfSeveralRejectedResponses) {
  Judge judge({});
  judge.config.margin = true;
  judge.pairs[1].ids.sequences.push_back({28, 11, 5, 40, 9});
  judge.pairs[1].ids.response_tokens.push_back(3);
  judge.remake();
  judge.loss(true);
  Parameter& head = judge.head->parameter();
  // Every evaluation adds to the head's gradient.
  test::expect_gradient(
      head.value, head.grad.clone(), [&] { return judge.loss(false); }, head.name);
  for (Parameter* p : judge.decoder->parameters()) {
    if (p->name != "model.layers.0.self_attn.k_proj.weight") continue;
    test::expect_gradient(
        p->value, p->grad, [&] { return judge.loss(false); }, p->name);
  }
}

TEST(RewardLoss, OneSequenceChangesNoOtherReward) {
  Judge judge({.dtype = DType::f32, .trains = Trains::head});
  const auto before = judge.rewards();
  judge.pairs[0].ids.sequences[1].back() = 3;  // of the first pair's rejected response
  judge.remake();
  const auto after = judge.rewards();
  EXPECT_NE(before[1], after[1]);
  for (const size_t i : {size_t(0), size_t(2), size_t(3)}) EXPECT_EQ(before[i], after[i]) << i;
}

TEST(RewardLoss, PackedAsOneByOne) {
  Judge together({.dtype = DType::f32});
  together.loss(true);
  const auto packed = together.rewards();
  for (size_t p = 0; p < 2; ++p) {
    Judge alone({.dtype = DType::f32, .share = false});
    alone.pairs = {together.pairs[p]};
    alone.remake();
    const auto rewards = alone.rewards();
    EXPECT_NEAR(rewards[0], packed[2 * p], 1e-5);
    EXPECT_NEAR(rewards[1], packed[2 * p + 1], 1e-5);
  }
  // Half the sum of the pairs' own gradients is the batch's.
  Judge halves({.dtype = DType::f32});
  const auto pairs = halves.pairs;
  for (const auto& pair : pairs) {
    halves.pairs = {pair};
    halves.remake();
    halves.loss(true);
  }
  const auto a = together.trained(), b = halves.trained();
  for (size_t i = 0; i < a.size(); ++i) {
    Tensor half = b[i]->grad.clone();
    ops::scale_into(half, 0.5);
    EXPECT_LT(error(half, a[i]->grad), 1e-4) << a[i]->name;
  }
}

TEST(RewardLoss, FrozenWeightsGetNoGradient) {
  Judge judge({.trains = Trains::adapters});
  judge.loss(true);
  for (const Parameter* p : judge.decoder->parameters()) EXPECT_FALSE(p->grad.defined()) << p->name;
}

// Spec, 8, item 9: applied in inference, it changes no order.
TEST(RewardScale, NormalisesAndIsKept) {
  const std::vector<double> rewards = {2, 0, 1, -1};
  const auto moments = reward::moments(rewards);
  EXPECT_NEAR(moments.deviation, 1.290994, 5e-7);
  const train::RewardScale scale{.mean = moments.mean, .deviation = moments.deviation};
  const double wanted[] = {1.161895, -0.387298, 0.387298, -1.161895};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(scale.apply(rewards[i]), wanted[i], 5e-7);
  train::NamedValues values;
  EXPECT_FALSE(train::RewardScale::from(values));
  scale.add_to(values);
  const auto again = train::RewardScale::from(values);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->mean, scale.mean);
  EXPECT_EQ(again->deviation, scale.deviation);
}

TEST(RewardLoss, FiguresOfAStep) {
  // pairs, right, chosen, rejected, squares: (1, 0.5), (0.2, 0.4)
  const double sums[] = {2, 1, 1.2, 0.9, 1 + 0.04 + 0.25 + 0.16};
  const auto f = train::RewardLoss::figures(sums);
  EXPECT_EQ(f.pairs, 2);
  EXPECT_DOUBLE_EQ(f.accuracy, 0.5);
  EXPECT_NEAR(f.margin_mean, 0.15, 1e-15);
  EXPECT_NEAR(f.reward_std, 0.3403429642777023, 1e-12);  // numpy.std([1, .2, .5, .4], ddof=1)
}

}  // namespace
}  // namespace elastron
