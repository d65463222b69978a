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

}  // namespace
}  // namespace elastron::train
