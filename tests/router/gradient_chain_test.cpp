// The whole way from keys, or queries, to loss through the soft gate, in float64 against finite differences: the
// straight-through backward is the derivative of the loss in which z is replaced by p
// (docs/method.md, Stochastic gate, Selected backward and Objective). Two routed layers, the
// sparsity objective over both.
#include <gtest/gtest.h>

#include <cmath>

#include "ops/elementwise.h"
#include "ops/routed_attention.h"
#include "router/objective.h"
#include "router/routed_layer.h"
#include "tests/support/gradcheck.h"
#include "tests/support/one_pack.h"

namespace elastron::router {
namespace {

using test::dot;
using test::expect_gradient;
using test::random_tensor;

constexpr int64_t kLayers = 2, kHeads = 2, kQHeads = 4, kDim = 6;
constexpr uint64_t kSeed = 21;
const std::vector<std::string> kTasks = {"Single QA", "MultiHop QA", "Summarization", "Code",
                                         "In-Context Learning"};

class Chain : public ::testing::Test {
 protected:
  void build(const RouterConfig& base) {
    config_ = base;
    if (base.task_widths == RouterConfig{}.task_widths) config_.task_widths[0] = 2;
    config_.widths[0] = 2;
    config_.init_std = 0.5;
    config_.pool_budget = 3;
    config_.ssa = {.sink = 2, .local = 4, .block = 2};
    const int64_t tokens = cu_seqlens_.back();
    for (int64_t l = 0; l < kLayers; ++l) {
      const auto u = uint64_t(10 * l);
      routers_.push_back(
          std::make_unique<AttentionRouter>(l, kDim, 5, config_, DType::f64, kSeed, true, cpu_));
      routers_.back()->append_parameters(parameters_);
      layers_.emplace_back(l, 0, config_, kSeed, *routers_.back(), LayerHeads{.kv_heads = kHeads});
      const int64_t read = config_.input == RouterInput::query ? kQHeads : kHeads;
      keys_.push_back(random_tensor({tokens, read, kDim}, DType::f64, cpu_, u + 1));
      attention_.push_back({.q = random_tensor({tokens, kQHeads, kDim}, DType::f64, cpu_, u + 2),
                            .k = random_tensor({tokens, kHeads, kDim}, DType::f64, cpu_, u + 3),
                            .v = random_tensor({tokens, kHeads, kDim}, DType::f64, cpu_, u + 4),
                            .gate = {},
                            .varlen = ops::Varlen{cu_seqlens_},
                            .pattern = config_.head_pattern(),
                            .softmax_scale = 0.4});
      d_out_.push_back(random_tensor({tokens, kQHeads, kDim}, DType::f64, cpu_, u + 5));
    }
    objective_ = std::make_unique<SparsityObjective>(config_.reg, task_targets(config_.reg, kTasks),
                                                     DType::f64, kSeed, true, cpu_);
    objective_->append_parameters(lambdas_);
    // A large weight: the objective's part must not drown in the attention's.
    for (Parameter* p : lambdas_) ops::scale_into(p->value, 20.0);
    // The question of document 1 is empty: zeros are pooled.
    batch_.segments = {{0, 7}, {9, 9}, {11, 20}};
    batch_.sample_keys = sample_keys_;
    batch_.task_ids = tasks_;
    batch_.step = 6;
    batch_.tau = 1.3;
    batch_.sample = true;
  }

  std::vector<Tensor> attention_of(int64_t layer, uint8_t gate) {
    auto in = attention_[size_t(layer)];
    in.gate =
        Tensor::from(std::vector<uint8_t>(kSequences * kHeads, gate), {kSequences, kHeads}, cpu_);
    return {ops::routed_attention_forward(in, ops::Branches::selected).selected};
  }

  // [S, K]: a layer's is that of all its heads.
  std::vector<double> probabilities(const SavedRoute& route) const {
    const auto decided = route.probability.to_vector<double>();
    std::vector<double> p(kSequences * kHeads);
    for (size_t i = 0; i < p.size(); ++i) p[i] = decided[i * decided.size() / p.size()];
    return p;
  }

  // Loss with p in place of z.
  double soft_loss() {
    double loss = 0;
    std::vector<double> msr(kSequences, 1.0);
    for (int64_t l = 0; l < kLayers; ++l) {
      const auto i = size_t(l);
      SavedRoute route;
      prepare({&layers_[i], 1});
      layers_[i].decide(keys_[i], int64_t(cu_seqlens_.size()) - 1, batch_, route);
      const auto p = probabilities(route);
      if (full_.size() < size_t(kLayers)) {  // does not depend on what is moved
        full_.push_back(attention_of(l, 1)[0].to_vector<double>());
        sparse_.push_back(attention_of(l, 0)[0].to_vector<double>());
      }
      const auto d_out = d_out_[i].to_vector<double>();
      for (int64_t s = 0; s < kSequences; ++s) {
        for (int64_t h = 0; h < kHeads; ++h) msr[size_t(s)] -= p[size_t(s * kHeads + h)] / 4.0;
        for (int64_t t = cu_seqlens_[size_t(s)]; t < cu_seqlens_[size_t(s) + 1]; ++t) {
          for (int64_t h = 0; h < kQHeads; ++h) {
            const double gate = p[size_t(s * kHeads + h / (kQHeads / kHeads))];
            for (int64_t d = 0; d < kDim; ++d) {
              const auto e = size_t((t * kQHeads + h) * kDim + d);
              loss += d_out[e] * (gate * full_[i][e] + (1 - gate) * sparse_[i][e]);
            }
          }
        }
      }
    }
    msr_ = msr;
    return loss + test::evaluate_pack(*objective_, tasks_, msr, 0.0).value;
  }

  // Straight-through gradients as a training step takes them, with dReg/dMSR at `msr`.
  std::vector<Tensor> backward(const std::vector<double>& msr) {
    const auto value = test::evaluate_pack(*objective_, tasks_, msr, 1.0);
    std::vector<double> d(kSequences * kHeads);
    for (size_t e = 0; e < d.size(); ++e) d[e] = -value.d_msr[e / kHeads] / (kLayers * kHeads);
    const Tensor d_objective = Tensor::from(d, {kSequences, kHeads}, cpu_);
    std::vector<Tensor> dk;
    for (size_t l = 0; l < size_t(kLayers); ++l) {
      SavedRoute route;
      prepare({&layers_[l], 1});
      layers_[l].decide(keys_[l], int64_t(cu_seqlens_.size()) - 1, batch_, route);
      auto in = attention_[l];
      in.gate = route.gate;
      const auto out = ops::routed_attention_forward(in, ops::Branches::both);
      const auto grad = ops::routed_attention_backward(d_out_[l], in, out, false, true);
      dk.push_back(Tensor::zeros(keys_[l].shape(), DType::f64, cpu_));
      layers_[l].backward(grad.gate, d_objective, batch_, route, &dk.back(), [](Parameter&) {});
    }
    return dk;
  }

  void check_all() {
    soft_loss();
    const std::vector<double> msr = msr_;
    const auto dk = backward(msr);
    const auto loss = [this] { return soft_loss(); };
    double largest = 0;
    for (size_t l = 0; l < size_t(kLayers); ++l) {
      expect_gradient(keys_[l], dk[l], loss, "keys");
      for (const double v : dk[l].to_vector<double>()) largest = std::max(largest, std::abs(v));
    }
    // There is something to compare; a mean over heads has so much less of each.
    EXPECT_GT(largest, config_.by_layer() ? 1e-2 / kHeads : 1e-2);
    for (Parameter* p : parameters_) expect_gradient(p->value, p->grad, loss, p->name);
    for (Parameter* p : lambdas_) expect_gradient(p->value, p->grad, loss, p->name);
  }

  static constexpr int64_t kSequences = 3;
  CpuDevice cpu_;
  RouterConfig config_;
  std::vector<int32_t> cu_seqlens_ = {0, 9, 11, 23};
  std::vector<uint32_t> sample_keys_ = {4, 9, 100000};
  std::vector<int32_t> tasks_ = {0, 3, 0};
  std::vector<std::unique_ptr<AttentionRouter>> routers_;
  std::vector<RoutedLayer> layers_;
  ParameterList parameters_, lambdas_;
  std::unique_ptr<SparsityObjective> objective_;
  std::vector<Tensor> keys_, d_out_;
  std::vector<ops::RoutedAttentionInput> attention_;
  RouterBatch batch_;
  std::vector<std::vector<double>> full_, sparse_;
  std::vector<double> msr_;
};

TEST_F(Chain, Softmax) {
  build({});
  check_all();
}

TEST_F(Chain, SigmoidWithMeanPooling) {
  build({.kind = Kind::sigmoid, .noise = Noise::logistic, .pool = Pool::mean});
  check_all();
}

TEST_F(Chain, LayerFromQueries) {
  build({.granularity = Granularity::layer,
         .input = RouterInput::query,
         .task_widths = {3, 2},
         .widths = {2, 1}});
  check_all();
}

TEST_F(Chain, LayerFromKeys) {
  build({.granularity = Granularity::layer});
  check_all();
}

TEST_F(Chain, HeadsFromTheirQueries) {
  build({.input = RouterInput::query});
  check_all();
}

TEST_F(Chain, LayerWithTaskEmbeddingAndLearnedTemperature) {
  build({.granularity = Granularity::layer,
         .input = RouterInput::query,
         .task_embedding = true,
         .tau_schedule = TauSchedule::learned,
         .tau = {.init = 0.7}});
  check_all();
}

// Two documents share a row of the embedding, which both heads read; the other rows stay at zero.
TEST_F(Chain, TaskEmbeddingAndLearnedTemperature) {
  build({.task_embedding = true, .tau_schedule = TauSchedule::learned, .tau = {.init = 0.7}});
  check_all();
  int options = 0;
  for (Parameter* p : parameters_) {
    if (p->name.ends_with("log_tau")) {
      ++options;
      EXPECT_NE(p->grad.data<double>()[0], 0.0);
    }
    if (p->name.ends_with("task_embedding.weight")) {
      ++options;
      for (const int64_t row : {1, 2, 4}) {
        EXPECT_EQ(ops::sum_of_squares(p->grad.slice(0, row, row + 1).clone()), 0.0);
      }
    }
  }
  EXPECT_EQ(options, 2 * kLayers);
}

// Detached keys do not keep the gradient from the embedding.
TEST_F(Chain, TaskEmbeddingLearnsWithDetachedKeys) {
  build({.detach_input = true, .task_embedding = true});
  std::vector<double> attached, detached;
  const Tensor d_gate = random_tensor({kSequences, kHeads}, DType::f64, cpu_, 3);
  for (auto* grad : {&attached, &detached}) {
    config_.detach_input = grad == &detached;
    RoutedLayer layer(0, 0, config_, kSeed, *routers_[0]);
    for (Parameter* p : parameters_) ops::scale_into(p->grad, 0.0);
    SavedRoute route;
    prepare({&layer, 1});
    layer.decide(keys_[0], int64_t(cu_seqlens_.size()) - 1, batch_, route);
    Tensor dk = Tensor::zeros(keys_[0].shape(), DType::f64, cpu_);
    layer.backward(d_gate, {}, batch_, route, &dk, [](Parameter&) {});
    EXPECT_EQ(ops::sum_of_squares(dk) == 0.0, config_.detach_input);
    for (Parameter* p : parameters_) {
      if (p->name == "router.layers.0.task_embedding.weight") {
        *grad = p->grad.to_vector<double>();
      }
    }
  }
  EXPECT_FALSE(attached.empty());
  EXPECT_EQ(attached, detached);
}

// Evaluation knows no tasks: other embeddings, other temperatures, the same decision.
TEST_F(Chain, EvaluationIgnoresTheTrainingOptions) {
  build({.task_embedding = true, .tau_schedule = TauSchedule::learned});
  batch_.sample = false;
  const auto decide = [&] {
    SavedRoute route;
    prepare({&layers_[0], 1});
    layers_[0].decide(keys_[0], int64_t(cu_seqlens_.size()) - 1, batch_, route);
    return route.probability.to_vector<double>();
  };
  const auto before = decide();
  batch_.sample = true;
  const auto training = decide();
  batch_.sample = false;
  for (Parameter* p : parameters_) {
    if (p->name.ends_with("task_embedding.weight") || p->name.ends_with("log_tau")) {
      ops::cast_into(random_tensor(p->value.shape(), DType::f64, cpu_, 8), p->value);
    }
  }
  EXPECT_EQ(decide(), before);
  batch_.sample = true;
  EXPECT_NE(decide(), training);
}

TEST_F(Chain, SignedGap) {
  RouterConfig config;
  config.reg.diff = DiffKind::signed_gap;
  build(config);
  check_all();
}

// Without multipliers: Reg = mean |gap| (docs/method.md, Objective).
TEST_F(Chain, WithoutMultipliers) {
  RouterConfig config;
  config.reg.enabled = false;
  build(config);
  for (const Parameter* p : lambdas_) EXPECT_FALSE(p->trainable);
  lambdas_.clear();
  check_all();
}

// L(z) is linear in each gate: the attention's part of the gradient is L(1) - L(0) exactly.
TEST_F(Chain, AttentionPartIsTheDifferenceOfTheBranches) {
  build({});
  const auto full = attention_of(0, 1)[0], sparse = attention_of(0, 0)[0];
  SavedRoute route;
  prepare({&layers_[0], 1});
  layers_[0].decide(keys_[0], int64_t(cu_seqlens_.size()) - 1, batch_, route);
  auto in = attention_[0];
  in.gate = route.gate;
  const auto out = ops::routed_attention_forward(in, ops::Branches::both);
  const auto d_gate =
      ops::routed_attention_backward(d_out_[0], in, out, false, true).gate.to_vector<double>();
  for (int64_t s = 0; s < kSequences; ++s) {
    for (int64_t h = 0; h < kHeads; ++h) {
      double want = 0;
      for (int64_t q = h * 2; q < h * 2 + 2; ++q) {
        const auto rows = [&](const Tensor& t) {
          return t.slice(0, cu_seqlens_[size_t(s)], cu_seqlens_[size_t(s) + 1])
              .slice(1, q, q + 1)
              .clone();
        };
        want += dot(rows(d_out_[0]), rows(full)) - dot(rows(d_out_[0]), rows(sparse));
      }
      EXPECT_NEAR(d_gate[size_t(s * kHeads + h)], want, 1e-12);
    }
  }
}

// Each half of the heads on its own rank: the same gates and key gradients, and parameter gradients
// that add up (they are marked partial over the tensor group).
TEST_F(Chain, HalvesOfTheHeadsAddUp) {
  build({});
  const ops::Varlen varlen{cu_seqlens_};
  const Tensor d_gate = random_tensor({kSequences, kHeads}, DType::f64, cpu_, 99);
  SavedRoute whole;
  prepare({&layers_[0], 1});
  layers_[0].decide(keys_[0], varlen.sequences(), batch_, whole);
  Tensor dk = Tensor::zeros(keys_[0].shape(), DType::f64, cpu_);
  layers_[0].backward(d_gate, {}, batch_, whole, &dk, [](Parameter&) {});

  std::vector<std::vector<double>> sums;
  for (int64_t rank = 0; rank < 2; ++rank) {
    AttentionRouter router(0, kDim, 5, config_, DType::f64, kSeed, true, cpu_);
    RoutedLayer local(0, rank, config_, kSeed, router);
    SavedRoute route;
    prepare({&local, 1});
    local.decide(keys_[0].slice(1, rank, rank + 1).clone(), varlen.sequences(), batch_, route);
    EXPECT_EQ(route.gate.to_vector<uint8_t>(),
              whole.gate.slice(1, rank, rank + 1).to_vector<uint8_t>());
    EXPECT_EQ(route.probability.to_vector<double>(),
              whole.probability.slice(1, rank, rank + 1).to_vector<double>());
    Tensor local_dk = Tensor::zeros({keys_[0].size(0), 1, kDim}, DType::f64, cpu_);
    local.backward(d_gate.slice(1, rank, rank + 1).clone(), {}, batch_, route, &local_dk,
                   [](Parameter&) {});
    EXPECT_EQ(local_dk.to_vector<double>(), dk.slice(1, rank, rank + 1).to_vector<double>());
    ParameterList list;
    router.append_parameters(list);
    sums.resize(list.size());
    for (size_t i = 0; i < list.size(); ++i) {
      EXPECT_TRUE(list[i]->gradient_partial_over_tensor);
      const auto g = list[i]->grad.to_vector<double>();
      sums[i].resize(g.size());
      for (size_t e = 0; e < g.size(); ++e) sums[i][e] += g[e];
    }
  }
  for (size_t i = 0; i < sums.size(); ++i) {
    const auto want = parameters_[i]->grad.to_vector<double>();
    for (size_t e = 0; e < want.size(); ++e) EXPECT_NEAR(sums[i][e], want[e], 1e-13);
  }
}

TEST_F(Chain, DetachedInputKeepsTheKeysOut) {
  build({.detach_input = true});
  SavedRoute route;
  prepare({&layers_[0], 1});
  layers_[0].decide(keys_[0], int64_t(cu_seqlens_.size()) - 1, batch_, route);
  Tensor dk = Tensor::zeros(keys_[0].shape(), DType::f64, cpu_);
  layers_[0].backward(random_tensor({kSequences, kHeads}, DType::f64, cpu_, 3), {}, batch_, route,
                      &dk, [](Parameter&) {});
  for (const double v : dk.to_vector<double>()) EXPECT_EQ(v, 0.0);
  EXPECT_GT(ops::sum_of_squares(parameters_[0]->grad), 0.0);
}

// A recomputed layer gets the same decision, whatever was drawn in between.
TEST_F(Chain, DecisionRepeats) {
  build({});
  SavedRoute first, other, again;
  const ops::Varlen varlen{cu_seqlens_};
  prepare({&layers_[0], 1});
  layers_[0].decide(keys_[0], varlen.sequences(), batch_, first);
  prepare({&layers_[1], 1});
  layers_[1].decide(keys_[0], varlen.sequences(), batch_, other);
  prepare({&layers_[0], 1});
  layers_[0].decide(keys_[0], varlen.sequences(), batch_, again);
  EXPECT_EQ(first.probability.to_vector<double>(), again.probability.to_vector<double>());
  EXPECT_EQ(first.gate.to_vector<uint8_t>(), again.gate.to_vector<uint8_t>());
}

}  // namespace
}  // namespace elastron::router
