// Evaluation against figures by hand: losses and choices come from the decoder's logits, one
// document at a time; accuracy is of the documents that have an answer.
#include "train/evaluate/evaluate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "model/router_batch.h"
#include "router/forced_gate.h"
#include "router/layer_routers.h"
#include "train/step/step.h"
#include "train/trained_model.h"

namespace elastron::train {
namespace {

class Documents final : public data::PackSource {
 public:
  explicit Documents(std::vector<data::Document> documents) : documents_(std::move(documents)) {
    kinds_ = {"asked", "told", "nobody"};
  }
  int64_t packs() const override { return int64_t(documents_.size()); }
  std::vector<data::Document> pack(int64_t index) const override {
    return {documents_[size_t(index)]};
  }
  int64_t longest() const override {
    int64_t tokens = 0;
    for (const auto& document : documents_) tokens = std::max(tokens, document.length());
    return tokens;
  }
  std::string fingerprint() const override { return ""; }
  std::string summary() const override { return ""; }
  const std::vector<data::Document>& all() const { return documents_; }

 private:
  std::vector<data::Document> documents_;
};

class Evaluate : public ::testing::Test {
 protected:
  Evaluate() {
    config_.data.max_tokens = 64;
    config_.router.pool_budget = 4;
    config_.router.ssa = {.sink = 4, .local = 4, .block = 4};
    m_.hidden_size = 32, m_.intermediate_size = 48, m_.num_layers = 2;
    m_.q_heads = 4, m_.kv_heads = 2, m_.head_dim = 16, m_.vocab_size = 12;
    decoder_.emplace(m_, decoder_options(config_, false), mesh_.tensor(), cpu_);
    decoder_->initialise(3);
  }

  std::vector<router::RoutedLayer> gates(const std::string& force) {
    return router::routed_by_gates(router::parse_force(force, m_.num_layers, m_.kv_heads).gates,
                                   {m_.kv_heads, 0, m_.kv_heads}, config_.router);
  }
  // The logits of a document by itself, [tokens][vocabulary].
  std::vector<std::vector<float>> logits(const data::Document& document, const std::string& force) {
    const auto batch = data::make_packed_batch({&document});
    auto routed = gates(force);
    const Tensor hidden =
        decoder_->forward(model::DeviceBatch::make(batch, cpu_),
                          model::make_router_batch(batch, config_.router, 0, 1.0, false), routed);
    const auto flat = decoder_->logits(hidden).to_vector<float>();
    std::vector<std::vector<float>> rows;
    for (size_t i = 0; i < flat.size(); i += size_t(m_.vocab_size)) {
      rows.emplace_back(flat.begin() + std::ptrdiff_t(i),
                        flat.begin() + std::ptrdiff_t(i) + m_.vocab_size);
    }
    return rows;
  }
  static int32_t choice(const std::vector<float>& row) {
    return int32_t(std::ranges::max_element(row) - row.begin());
  }

  // A document whose answer is what the model would say, or not.
  data::Document made(int64_t user, int64_t answer, int32_t seed, bool right) {
    data::Document d;
    for (int64_t t = 0; t < user; ++t) d.ids.push_back(int32_t((t * 5 + seed * 3 + t * t) % 12));
    d.user_length = user;
    d.answer_length = answer;
    d.labels = data::LabelMode::answer;
    for (int64_t t = 0; t < answer; ++t) {
      const int32_t said = choice(logits(d, "full").back());
      d.ids.push_back(right || t + 1 < answer ? said : (said + 1) % 12);
    }
    d.ids.push_back(1);  // end of sequence: labelled, but no part of the answer
    return d;
  }
  // A document of each of these kinds, of many lengths.
  static std::vector<data::Document> of_kinds(const std::vector<int32_t>& kinds) {
    std::vector<data::Document> documents;
    for (size_t i = 0; i < kinds.size(); ++i) {
      auto& d = documents.emplace_back();
      const auto n = int32_t(3 + 7 * i % 30);
      for (int32_t t = 0; t < n; ++t) d.ids.push_back((t * t * (kinds[i] + 1) + int32_t(i)) % 12);
      d.user_length = n - 1;
      d.kind_id = kinds[i];
    }
    return documents;
  }
  EvalResult run(const Documents& source, const std::string& force) {
    auto routed = gates(force);
    return evaluate(config_, mesh_, cpu_, *decoder_, routed, source,
                    [&](uint64_t done, uint64_t n) {
                      progress_.push_back(done);
                      EXPECT_EQ(n, uint64_t(source.packs()));
                    });
  }

  Config config_;
  model::ModelConfig m_;
  CpuDevice cpu_;
  parallel::Mesh mesh_ = parallel::Mesh::single();
  std::optional<model::Decoder> decoder_;
  std::vector<uint64_t> progress_;
};

// Five documents: of "asked" one right and two wrong, of "told" one right and one without an
// answer, and of "nobody" two without one.
TEST_F(Evaluate, FiguresAreThoseByHand) {
  std::vector<data::Document> documents = {
      made(20, 3, 1, true), made(9, 2, 2, false), made(33, 1, 3, false), made(12, 2, 4, true),
      made(16, 0, 5, true), made(7, 0, 6, true),  made(25, 0, 7, true)};
  const int32_t kinds[] = {0, 0, 0, 1, 1, 2, 2}, tasks[] = {0, 0, 1, 3, 3, 4, 4};
  for (size_t i = 0; i < documents.size(); ++i) {
    documents[i].kind_id = kinds[i];
    documents[i].task_id = tasks[i];
  }
  const Documents source(documents);
  double loss = 0;
  int64_t labels = 0;
  for (const auto& d : documents) {
    const auto rows = logits(d, "full");
    for (int64_t t = d.user_length; t < d.length(); ++t) {
      const auto& row = rows[size_t(t - 1)];
      double sum = 0;
      for (const float v : row) sum += std::exp(double(v));
      loss += std::log(sum) - double(row[size_t(d.ids[size_t(t)])]);
      ++labels;
    }
  }
  for (const int64_t at_once : {1, 3, 8}) {
    config_.eval.micro_batch = at_once;
    progress_.clear();
    const EvalResult result = run(source, "full");
    EXPECT_EQ(result.all.documents, 7);
    EXPECT_EQ(result.all.answers, 4);
    EXPECT_EQ(result.all.labels, labels);
    EXPECT_NEAR(result.all.loss, loss / double(labels), 1e-5);
    EXPECT_EQ(result.all.accuracy, 0.5);
    EXPECT_EQ(result.all.msr, 0.0);
    EXPECT_EQ(result.by_kind.at("asked").accuracy, 1.0 / 3);
    EXPECT_EQ(result.by_kind.at("asked").answers, 3);
    EXPECT_EQ(result.by_kind.at("told").accuracy, 1.0);
    EXPECT_EQ(result.by_kind.at("told").documents, 2);
    EXPECT_EQ(result.by_kind.at("told").answers, 1);
    EXPECT_EQ(result.by_kind.at("nobody").documents, 2);
    EXPECT_EQ(result.by_kind.at("nobody").answers, 0);
    EXPECT_FALSE(result.by_kind.at("nobody").accuracy.has_value());
    EXPECT_EQ(accuracy_text(result.by_kind.at("nobody")), "-");
    EXPECT_TRUE(accuracy_json(result.by_kind.at("nobody")).is_null());
    EXPECT_EQ(accuracy_text(result.by_kind.at("asked")), "0.333");
    EXPECT_EQ(result.by_task.at("Single QA").accuracy, 0.5);
    EXPECT_EQ(result.by_task.at("MultiHop QA").accuracy, 0.0);
    EXPECT_TRUE(std::ranges::is_sorted(progress_));
    EXPECT_EQ(progress_.front(), 0u);
    EXPECT_EQ(progress_.back(), 7u);
  }
}

// Sink and window of a block of 4 each: the last query of a document of 20 tokens sees its own
// block and the first.
TEST_F(Evaluate, SparsityFiguresAreThoseByHand) {
  data::Document d;
  for (int32_t t = 0; t < 20; ++t) d.ids.push_back(t % 12);
  d.user_length = 19;
  const Documents source({d});
  int64_t pairs = 0;
  for (int64_t i = 0; i < 20; ++i) {
    for (int64_t j = 0; j <= i; ++j) pairs += j < 4 || i / 4 == j / 4 ? 1 : 0;
  }
  const EvalResult sparse = run(source, "sparse");
  EXPECT_EQ(sparse.all.msr, 1.0);
  EXPECT_NEAR(sparse.all.esr_all_layers_last_query, 1 - 8.0 / 20, 1e-12);
  EXPECT_NEAR(sparse.all.esr_all_layers_area, 1 - double(pairs) / 210, 1e-12);
  // One of four heads: MSR and the area by the heads' share.
  const EvalResult quarter = run(source, "random:0.25:1");
  EXPECT_EQ(quarter.all.msr, 0.25);
  EXPECT_NEAR(quarter.all.esr_all_layers_area, sparse.all.esr_all_layers_area / 4, 1e-12);
}

using Matrix = std::vector<std::vector<double>>;

TEST_F(Evaluate, HeadsOfEachKindAreAsTheyWereForced) {
  const Documents source(of_kinds({0, 0, 2}));
  for (const std::string force : {"full", "sparse", "random:0.25:1", "random:0.5:7"}) {
    const EvalResult result = run(source, force);
    Matrix expected;
    for (const auto& heads : router::parse_force(force, m_.num_layers, m_.kv_heads).gates) {
      expected.emplace_back(heads.begin(), heads.end());
    }
    EXPECT_EQ(result.full_by_kind,
              (std::map<std::string, Matrix>{{"asked", expected}, {"nobody", expected}}))
        << force;
    EXPECT_FALSE(result.features.has_value()) << force;
  }
}

// Random gates of each document: shares of a kind's documents.
TEST_F(Evaluate, HeadsOfEachKindAreSharesOfItsDocuments) {
  const Documents source(of_kinds({0, 1, 1, 0, 1, 1}));
  config_.eval.micro_batch = 8;
  config_.data.max_tokens = 1000;  // one pass, in which a document's place names its gates
  const router::RandomGates random{.sequence_share = 1, .sparse_probability = 0.5, .seed = 5};
  std::vector<router::RoutedLayer> routed;
  for (int64_t l = 0; l < m_.num_layers; ++l) routed.emplace_back(l, 0, config_.router, random);
  std::map<std::string, Matrix> expected;
  for (size_t d = 0; d < source.all().size(); ++d) {
    const bool asked = source.all()[d].kind_id == 0;
    auto& shares = expected[asked ? "asked" : "told"];
    shares.resize(2, std::vector<double>(2, 0.0));
    for (int64_t i = 0; i < 4; ++i) {
      shares[size_t(i / 2)][size_t(i % 2)] +=
          double(random.gate(0, uint32_t(d), i / 2, i % 2)) / (asked ? 2 : 4);
    }
  }
  const EvalResult result =
      evaluate(config_, mesh_, cpu_, *decoder_, routed, source, [](auto, auto) {});
  EXPECT_EQ(result.full_by_kind, expected);
  EXPECT_NE(expected.at("asked"), expected.at("told"));
}

// What a router reads and makes of it, computed again in double from the keys that attention sees.
class Features : public Evaluate, public model::AttentionObserver {
 protected:
  Features() {
    config_.router.init_std = 0.3;
    routers_.emplace(config_.router,
                     router::RoutedModel{.layers = m_.num_layers,
                                         .head_dim = m_.head_dim,
                                         .heads = {m_.kv_heads, 0, m_.kv_heads}},
                     DType::f32, 11, /*trainable=*/false, cpu_);
    ParameterList parameters;
    routers_->append_parameters(parameters);
    for (const Parameter* p : parameters) weights_[p->name] = p->value.to_vector<float>();
  }

  // Keys after RoPE -> pooled keys before it, of one document.
  void see(int64_t, const Tensor&, const Tensor& k) override {
    const int64_t d = m_.head_dim, half = d / 2;
    const auto keys = k.to_vector<float>();
    for (int64_t h = 0; h < m_.kv_heads; ++h) {
      std::vector<double> sum(size_t(d), 0.0);
      for (const int64_t t : pooled_) {
        const float* key = &keys[size_t((t * m_.kv_heads + h) * d)];
        for (int64_t i = 0; i < half; ++i) {
          const double angle = double(t) * std::pow(m_.rope.theta, -2.0 * double(i) / double(d));
          sum[size_t(i)] += std::cos(angle) * key[i] + std::sin(angle) * key[i + half];
          sum[size_t(i + half)] += std::cos(angle) * key[i + half] - std::sin(angle) * key[i];
        }
      }
      for (double& v : sum) v /= double(pooled_.size());
      before_.push_back(std::move(sum));
    }
  }
  std::vector<double> linear(const std::string& name, const std::vector<double>& x) {
    const auto &weight = weights_.at(name + ".weight"), &bias = weights_.at(name + ".bias");
    std::vector<double> y(bias.begin(), bias.end());
    for (size_t o = 0; o < y.size(); ++o) {
      for (size_t i = 0; i < x.size(); ++i) y[o] += double(weight[o * x.size() + i]) * x[i];
    }
    return y;
  }
  // Vectors of a document by layer and head, before and after the task MLP.
  std::pair<Matrix, Matrix> vectors(const data::Document& document) {
    const auto batch = data::make_packed_batch({&document});
    const auto& ids = batch.range_ids[0];
    pooled_.clear(), before_.clear();
    const int64_t budget = config_.router.pool_budget;
    for (int64_t t = ids[2]; t < std::min(ids[2] + budget, ids[5] + 1); ++t) pooled_.push_back(t);
    for (int64_t t = std::max(ids[2], ids[5] - budget + 1); t <= ids[5]; ++t) pooled_.push_back(t);
    auto routed = routers_->routed();
    decoder_->forward(model::DeviceBatch::make(batch, cpu_),
                      model::make_router_batch(batch, config_.router, 0, 1.0, false), routed,
                      {.observer = this});
    Matrix after;
    for (size_t i = 0; i < before_.size(); ++i) {
      const std::string layer = "router.layers." + std::to_string(i / size_t(m_.kv_heads));
      auto hidden = linear(layer + ".task.0", before_[i]);
      for (double& v : hidden) v /= 1 + std::exp(-v);
      after.push_back(linear(layer + ".task.2", hidden));
    }
    return {before_, after};
  }
  // Of the sums of both kinds' vectors, mean over layers and heads.
  static double cosine(const Matrix& a, const Matrix& b) {
    double mean = 0;
    for (size_t place = 0; place < a.size(); ++place) {
      const auto dot = [&](const Matrix& x, const Matrix& y) {
        double sum = 0;
        for (size_t i = 0; i < x[place].size(); ++i) sum += x[place][i] * y[place][i];
        return sum;
      };
      mean += dot(a, b) / std::sqrt(dot(a, a) * dot(b, b)) / double(a.size());
    }
    return mean;
  }
  static void add(Matrix& sum, const Matrix& one) {
    if (sum.empty()) sum = Matrix(one.size(), std::vector<double>(one[0].size(), 0.0));
    for (size_t p = 0; p < one.size(); ++p) {
      for (size_t i = 0; i < one[p].size(); ++i) sum[p][i] += one[p][i];
    }
  }

  std::optional<router::LayerRouters> routers_;
  std::map<std::string, std::vector<float>> weights_;
  std::vector<int64_t> pooled_;  // tokens of the document, some twice
  Matrix before_;
};

TEST_F(Features, CosinesOfKindsAreThoseByHand) {
  const auto documents = of_kinds({1, 0, 1, 2, 0, 1});
  std::map<std::string, std::pair<Matrix, Matrix>> sums;
  const Documents source(documents);
  for (const auto& document : documents) {
    const auto [before, after] = vectors(document);
    auto& [sum_before, sum_after] = sums[source.kinds()[size_t(document.kind_id)]];
    add(sum_before, before);
    add(sum_after, after);
  }
  for (const int64_t at_once : {1, 4}) {
    config_.eval.micro_batch = at_once;
    auto routed = routers_->routed();
    const EvalResult result = evaluate(config_, mesh_, cpu_, *decoder_, routed, source,
                                       [](auto, auto) {}, {.features = true});
    ASSERT_TRUE(result.features.has_value());
    const KindFeatures& f = *result.features;
    ASSERT_EQ(f.kinds, (std::vector<std::string>{"asked", "nobody", "told"}));
    for (size_t a = 0; a < 3; ++a) {
      EXPECT_EQ(f.before[a][a], 1.0);
      EXPECT_EQ(f.after[a][a], 1.0);
      for (size_t b = 0; b < 3; ++b) {
        const auto &x = sums.at(f.kinds[a]), &y = sums.at(f.kinds[b]);
        EXPECT_NEAR(f.before[a][b], cosine(x.first, y.first), 2e-6) << a << b;
        EXPECT_NEAR(f.after[a][b], cosine(x.second, y.second), 2e-6) << a << b;
        EXPECT_TRUE(a == b || std::abs(f.before[a][b] - f.after[a][b]) > 1e-3) << a << b;
      }
    }
    EXPECT_FALSE(
        evaluate(config_, mesh_, cpu_, *decoder_, routed, source, [](auto, auto) {}).features);
  }
}

// The router in bfloat16 keeps other tensors; kinds of one name are one.
TEST_F(Features, AreReadInAnyDtype) {
  const Documents source(of_kinds({0, 1, 1}));
  auto routed = routers_->routed();
  const auto whole = evaluate(config_, mesh_, cpu_, *decoder_, routed, source, [](auto, auto) {},
                              {.features = true});
  config_.router.dtype = router::RouterDType::bfloat16;
  router::LayerRouters rounded(
      config_.router,
      {.layers = m_.num_layers, .head_dim = m_.head_dim, .heads = {m_.kv_heads, 0, m_.kv_heads}},
      DType::f32, 11, false, cpu_);
  routed = rounded.routed();
  const auto near = evaluate(config_, mesh_, cpu_, *decoder_, routed, source, [](auto, auto) {},
                             {.features = true});
  EXPECT_NEAR(whole.features->before[0][1], near.features->before[0][1], 1e-2);
  EXPECT_NEAR(whole.features->after[0][1], near.features->after[0][1], 1e-2);
  EXPECT_NE(whole.features->after, near.features->after);

  KindFeatureSums sums({"b", "a", "b"}, 1);
  const std::vector<std::vector<float>> before = {{1, 0}, {0, 1}, {1, 2}};
  for (int32_t kind = 0; kind < 3; ++kind) {
    router::SavedRouter saved;
    const Tensor row = Tensor::from(before[size_t(kind)], {1, 2}, cpu_);
    saved.chain.input = {row, row, Tensor::zeros({1, 3}, DType::f32, cpu_)};
    sums.see(0, saved);
    sums.take({&kind, 1});
  }
  const KindFeatures f = sums.cosines(mesh_, false);
  EXPECT_EQ(f.kinds, (std::vector<std::string>{"a", "b"}));
  EXPECT_NEAR(f.before[0][1], 2 / std::sqrt(8.0), 1e-15);  // (0, 1) and (2, 2)
  EXPECT_EQ(f.after[0][1], 0.0);
}

}  // namespace
}  // namespace elastron::train
