// Scores of pairs: what they are made of, and that a pair's company, the order of the groups and a
// pass that is cut in two change none of them.
#include "train/evaluate/pair_scorer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "reward/loss.h"
#include "reward/pair_batch.h"
#include "router/forced_gate.h"
#include "router/layer_routers.h"
#include "train/trained_model.h"
#include "train/workload/registry.h"

namespace elastron::train {
namespace {

// Pairs with a prompt of 4 + 3 p tokens and responses of p + 1 and 2 p + 2 tokens.
class Pairs final : public data::BatchSource {
 public:
  Pairs(int64_t count, bool labels) : labels_(labels), pairs_(size_t(count)) {
    kinds_ = {"even", "odd"};
    for (size_t p = 0; p < pairs_.size(); ++p) {
      auto& pair = pairs_[p];
      pair.kind_id = int32_t(p % 2);
      pair.margin = 0.1 * double(p);
      pair.ids.shared = 4 + 3 * int64_t(p);
      for (const int64_t response : {int64_t(p) + 1, 2 * int64_t(p) + 2}) {
        auto& ids = pair.ids.sequences.emplace_back();
        for (int64_t t = 0; t < pair.ids.shared; ++t) ids.push_back(int32_t((t * 5 + p) % 12));
        for (int64_t t = 0; t < response; ++t) ids.push_back(int32_t((t * 7 + response) % 12));
        pair.ids.response_tokens.push_back(response);
      }
    }
  }
  int64_t packs() const override { return int64_t(pairs_.size()); }
  data::PackedBatch batch(std::span<const int64_t> packs) const override {
    std::vector<const reward::PairDocument*> chosen;
    for (const int64_t p : packs) chosen.push_back(&pairs_[size_t(p)]);
    return reward::make_pair_batch(chosen, {.share = true, .labels = labels_});
  }
  int64_t longest() const override { return 64; }
  std::string fingerprint() const override { return ""; }
  std::string summary() const override { return ""; }

 private:
  bool labels_;
  std::vector<reward::PairDocument> pairs_;
};

class PairScores : public ::testing::Test {
 protected:
  void use(reward::LossKind loss, const std::string& force = "full") {
    config_ = {};
    config_.train.objective = kReward;
    config_.reward.loss = loss;
    config_.reward.margin = true;
    config_.reward.label_smoothing = 0.1;
    config_.reward.simpo.nll = 0.5;
    config_.data.max_tokens = 64;
    config_.eval.micro_batch = 3;
    config_.model.dtype = ComputeDType::float64;
    config_.router.ssa = {.sink = 4, .local = 4, .block = 4};
    model::ModelConfig m;
    m.hidden_size = 32, m.intermediate_size = 48, m.num_layers = 2;
    m.q_heads = 4, m.kv_heads = 2, m.head_dim = 16, m.vocab_size = 12;
    decoder_.emplace(m, decoder_options(config_, false), mesh_.tensor(), cpu_);
    decoder_->initialise(3);
    head_.reset();
    if (config_.has_reward_head()) head_.emplace(m.hidden_size, DType::f64, 1, false, cpu_);
    routed_ = router::routed_by_gates(router::parse_force(force, m.num_layers, m.kv_heads).gates,
                                      {m.kv_heads, 0, m.kv_heads}, config_.router);
  }
  std::vector<ScoredPair> scores(const Pairs& source, std::vector<int64_t> groups,
                                 const reward::RewardHead* untrained = nullptr) {
    PairScorer scorer(config_, mesh_, cpu_, *decoder_, routed_, head_ ? &*head_ : nullptr,
                      untrained);
    beats_ = 0;
    return scorer.score(source, groups, [&] { ++beats_; });
  }

  Config config_;
  CpuDevice cpu_;
  parallel::Mesh mesh_ = parallel::Mesh::single();
  std::optional<model::Decoder> decoder_;
  std::optional<reward::RewardHead> head_;
  std::vector<router::RoutedLayer> routed_;
  int beats_ = 0;
};

TEST_F(PairScores, LossesAndFiguresAreThoseOfTheirScores) {
  use(reward::LossKind::bradley_terry);
  const Pairs source(7, false);
  const auto scored = scores(source, {0, 1, 2});
  ASSERT_EQ(scored.size(), 7u);
  EXPECT_EQ(beats_, 3);
  for (size_t p = 0; p < scored.size(); ++p) {
    const auto& f = scored[p].figures;
    EXPECT_EQ(scored[p].kind_id, int32_t(p % 2));
    EXPECT_EQ(f.tokens_rejected - f.tokens_chosen, int64_t(p) + 1);
    EXPECT_EQ(scored[p].msr, 0);
    EXPECT_NE(f.chosen, f.rejected);
    const std::vector<double> rejected = {f.rejected};
    EXPECT_NEAR(scored[p].loss,
                reward::bradley_terry(f.chosen, rejected, 0.1 * double(p), 0.1).value, 1e-12);
  }
}

TEST_F(PairScores, OfLikelihoods) {
  use(reward::LossKind::simpo);
  const Pairs source(4, true);
  for (const ScoredPair& pair : scores(source, {0, 1})) {
    // Rewards are beta times the mean log-probabilities, which are negative.
    const double beta = config_.reward.simpo.beta;
    const double chosen = pair.figures.chosen / beta, rejected = pair.figures.rejected / beta;
    EXPECT_LT(chosen, 0);
    EXPECT_NEAR(
        pair.loss,
        reward::simpo(chosen, rejected, config_.reward.simpo_settings()).value - 0.5 * chosen,
        1e-12);
  }
}

TEST_F(PairScores, CompanyAndOrderChangeNothing) {
  use(reward::LossKind::bradley_terry);
  const Pairs source(7, false);
  const auto all = scores(source, {0, 1, 2});
  const auto some = scores(source, {2, 0});  // the last group has one pair
  ASSERT_EQ(some.size(), 4u);
  EXPECT_EQ(some[0].figures.chosen, all[6].figures.chosen);
  EXPECT_EQ(some[1].figures.chosen, all[0].figures.chosen);
  EXPECT_EQ(some[3].figures.rejected, all[2].figures.rejected);
  config_.eval.micro_batch = 1;
  const auto alone = scores(source, {0, 1, 2, 3, 4, 5, 6});
  EXPECT_EQ(beats_, 7);
  config_.eval.micro_batch = 7;
  config_.data.max_tokens = 16;  // of which a pass takes two: it is cut until it fits
  const auto cut = scores(source, {0});
  for (size_t p = 0; p < all.size(); ++p) {
    EXPECT_NEAR(alone[p].figures.chosen, all[p].figures.chosen, 1e-12) << p;
    EXPECT_NEAR(cut[p].figures.rejected, all[p].figures.rejected, 1e-12) << p;
    EXPECT_EQ(cut[p].kind_id, all[p].kind_id) << p;
  }
}

TEST_F(PairScores, SparseHeadsAndAnUntrainedHead) {
  use(reward::LossKind::bradley_terry, "random:0.5:1");
  const Pairs source(3, false);
  const reward::RewardHead untrained(32, DType::f64, 2, false, cpu_);
  for (const ScoredPair& pair : scores(source, {0}, &untrained)) {
    EXPECT_EQ(pair.msr, 0.5);
    EXPECT_NE(pair.untrained_chosen, pair.figures.chosen);
    EXPECT_NE(pair.untrained_rejected, 0);
  }
  for (const ScoredPair& pair : scores(source, {0})) EXPECT_EQ(pair.untrained_chosen, 0);
}

}  // namespace
}  // namespace elastron::train
