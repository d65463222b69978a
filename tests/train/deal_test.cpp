// Who computes which micro batch, and that neither this nor how many packs a micro batch has
// changes what a document is called.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "parallel/mesh.h"
#include "train/step/step_batches.h"

namespace elastron::train {
namespace {

using Dealt = std::vector<std::vector<int64_t>>;

double largest_sum(const std::vector<double>& costs, const Dealt& dealt) {
  double largest = 0;
  for (const auto& own : dealt) {
    double sum = 0;
    for (const int64_t i : own) sum += costs[size_t(i)];
    largest = std::max(largest, sum);
  }
  return largest;
}

void expect_each_once(const Dealt& dealt, size_t count, size_t ranks) {
  ASSERT_EQ(dealt.size(), ranks);
  std::vector<int64_t> all;
  for (const auto& own : dealt) {
    EXPECT_EQ(own.size(), count / ranks);
    EXPECT_TRUE(std::ranges::is_sorted(own));
    all.insert(all.end(), own.begin(), own.end());
  }
  std::ranges::sort(all);
  std::vector<int64_t> expected(count);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all, expected);
}

TEST(Deal, ByCostIsEvenWhereTurnsAreNot) {
  // Every other pack is long: in turns one of two ranks gets all of those.
  const std::vector<double> costs = {16, 1, 16, 1, 16, 1, 16, 1};
  const Dealt turns = deal(costs, 2, Balance::none), by_cost = deal(costs, 2, Balance::cost);
  expect_each_once(turns, 8, 2);
  expect_each_once(by_cost, 8, 2);
  EXPECT_EQ(largest_sum(costs, turns), 64);
  EXPECT_EQ(largest_sum(costs, by_cost), 34);
  EXPECT_EQ(turns, (Dealt{{0, 2, 4, 6}, {1, 3, 5, 7}}));
}

TEST(Deal, ByCostOfFourRanks) {
  // 9 + 1, 8 + 2, 7 + 3, 6 + 4 is the only even way.
  const std::vector<double> costs = {9, 8, 7, 6, 4, 3, 2, 1};
  const Dealt dealt = deal(costs, 4, Balance::cost);
  expect_each_once(dealt, 8, 4);
  EXPECT_EQ(largest_sum(costs, dealt), 10);
  EXPECT_EQ(largest_sum(costs, deal(costs, 4, Balance::none)), 13);
}

TEST(Deal, EqualCostsGoInTurnsWhateverTheyAre) {
  const Dealt turns = {{0, 3}, {1, 4}, {2, 5}};
  for (const double cost : {0.0, 1.0, 1e30}) {
    EXPECT_EQ(deal(std::vector<double>(6, cost), 3, Balance::cost), turns) << cost;
  }
}

TEST(Deal, TheSameEveryTimeWithTies) {
  const std::vector<double> costs = {5, 5, 2, 2, 2, 5, 2, 5};
  const Dealt first = deal(costs, 2, Balance::cost);
  expect_each_once(first, 8, 2);
  EXPECT_EQ(largest_sum(costs, first), 14);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(deal(costs, 2, Balance::cost), first);
}

TEST(Deal, InTurnsWhereRanksDoNotDivide) {
  EXPECT_EQ(deal(std::vector<double>{3, 2, 1}, 2, Balance::cost), (Dealt{{0, 2}, {1}}));
}

// Pack i has i % 4 + 1 documents of i + 1 tokens each.
class Packs final : public data::PackSource {
 public:
  Packs() { kinds_ = {"only"}; }
  int64_t packs() const override { return kUnlimited; }
  std::vector<data::Document> pack(int64_t index) const override {
    std::vector<data::Document> documents;
    for (int64_t d = 0; d <= index % 4; ++d) {
      data::Document document;
      document.ids.assign(size_t(index + 1), int32_t(d));
      document.user_length = 1;
      document.sample_id = index * 4 + d;
      documents.push_back(document);
    }
    return documents;
  }
  int64_t longest() const override { return kUnlimited; }
  std::string fingerprint() const override { return "packs"; }
  std::string summary() const override { return "packs"; }
};

// Which key each document has, by sample.
std::map<int64_t, uint32_t> keys_of(const std::vector<int64_t>& packs, int64_t micro_batch) {
  Config config;
  config.train.micro_batch = micro_batch;
  model::ModelConfig m;
  m.hidden_size = 16, m.intermediate_size = 16, m.num_layers = 1;
  m.q_heads = m.kv_heads = 2, m.head_dim = 8, m.vocab_size = 8;
  const Packs source;
  auto mesh = parallel::Mesh::single();
  const StepBatches batches(config, source, MicroBatchCost(config, m), mesh.data());
  std::map<int64_t, uint32_t> keys;
  for (const data::PackedBatch& batch : batches.of_step(packs).batches) {
    EXPECT_EQ(batch.packs(), micro_batch);
    EXPECT_EQ(batch.pack_ends.back(), batch.documents());
    for (int64_t d = 0; d < batch.documents(); ++d) {
      const bool fresh =
          keys.emplace(batch.sample_ids[size_t(d)], batch.sample_keys[size_t(d)]).second;
      EXPECT_TRUE(fresh);
    }
  }
  return keys;
}

TEST(StepBatches, DocumentsAreNumberedThroughTheStep) {
  const std::vector<int64_t> packs = {3, 0, 6, 1, 2, 7, 5, 4};
  std::map<int64_t, uint32_t> expected;
  for (const int64_t pack : packs) {
    for (int64_t d = 0; d <= pack % 4; ++d) {
      expected.emplace(pack * 4 + d, uint32_t(expected.size()));
    }
  }
  for (const int64_t micro_batch : {1, 2, 4, 8}) {
    EXPECT_EQ(keys_of(packs, micro_batch), expected) << micro_batch;
  }
}

}  // namespace
}  // namespace elastron::train
