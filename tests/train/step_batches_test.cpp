// The micro batches of a step: the same whoever makes them and whenever, made while the step before
// is computed, and what is wrong with one said where it is used.
#include "train/step/step_batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "tests/parallel/support.h"

namespace elastron::train {
namespace {

using Packs = std::vector<int64_t>;

// Pack i has i % 4 + 1 documents of i + 1 tokens each. Notes who asks.
class Source final : public data::PackSource {
 public:
  Source() { kinds_ = {"only"}; }
  int64_t packs() const override { return kUnlimited; }
  std::vector<data::Document> pack(int64_t index) const override {
    note(index);
    if (bad.contains(index)) throw InputError("a bad pack", std::to_string(index), "mend it");
    if (vast.contains(index)) throw std::bad_alloc();
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

  // For ever, where nobody asks.
  void wait_until_asked_for(const Packs& packs) const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      return std::ranges::all_of(packs, [&](int64_t p) { return asked_.contains(p); });
    });
  }
  // Who has asked for each pack so far.
  std::multimap<int64_t, std::thread::id> asked() const {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

  std::set<int64_t> bad, vast;  // packs

 private:
  void note(int64_t index) const {
    {
      const std::lock_guard lock(mutex_);
      asked_.emplace(index, std::this_thread::get_id());
    }
    changed_.notify_all();
  }

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable std::multimap<int64_t, std::thread::id> asked_;
};

class Labels final : public TrainingLoss {
 public:
  int64_t terms(const data::PackedBatch& batch) const override { return batch.labels(); }
  int64_t labels(const data::PackedBatch& batch) const override { return batch.labels(); }
  Value evaluate(const Tensor&, const model::DeviceBatch&, double, bool,
                 const std::function<void(Parameter&)>&) override {
    throw LogicError("nothing is computed here");
  }
};

// All ranks are data ranks.
class StepBatchesTest : public parallel::WorldTest {
 protected:
  StepBatchesTest() {
    model_.hidden_size = 16, model_.intermediate_size = 16, model_.num_layers = 1;
    model_.q_heads = model_.kv_heads = 2, model_.head_dim = 8, model_.vocab_size = 8;
    config_.train.micro_batch = 1;
    mesh_ = std::make_unique<parallel::Mesh>(world, parallel::MeshLayout{.data = world.size()});
  }
  void TearDown() override {
    mesh_.reset();
    WorldTest::TearDown();
  }

  StepBatches batches() { return batches_of(mesh_->data()); }
  StepBatches batches_of(parallel::Communicator& data) {
    return {config_, source_, MicroBatchCost(config_, model_), loss_, data};
  }
  // The micro batches that this rank looks at first.
  Packs share(const Packs& packs) const {
    Packs own;
    for (size_t i = size_t(world.rank()); i < packs.size(); i += size_t(world.size())) {
      own.push_back(packs[i]);
    }
    return own;
  }
  int64_t over_ranks(int64_t value) {
    int64_t sum[] = {value};
    mesh_->data().all_reduce_host(sum, parallel::ReduceOp::sum);
    return sum[0];
  }
  static void take_all(StepBatches::Own& own) {
    for (int64_t i = 0; i < own.batches.size(); ++i) own.batches[i];
  }

  Config config_;
  model::ModelConfig model_;
  Source source_;
  Labels loss_;
  std::unique_ptr<parallel::Mesh> mesh_;
  const Packs step_ = {3, 0, 6, 1, 2, 7, 5, 4};
};

TEST_F(StepBatchesTest, DocumentsAreNumberedThroughTheStep) {
  std::map<int64_t, uint32_t> expected;  // by sample
  for (const int64_t pack : step_) {
    for (int64_t d = 0; d <= pack % 4; ++d) {
      expected.emplace(pack * 4 + d, uint32_t(expected.size()));
    }
  }
  for (const int64_t micro_batch : {1, 2}) {
    config_.train.micro_batch = micro_batch;
    StepBatches all = batches();
    StepBatches::Own own = all.of_step(step_);
    EXPECT_EQ(own.batches.size() * world.size() * micro_batch, int64_t(step_.size()));
    EXPECT_EQ(own.totals.packs, int64_t(step_.size()));
    EXPECT_EQ(own.totals.micro_batches, int64_t(step_.size()) / micro_batch);
    int64_t documents = 0, terms = 0;
    for (int64_t i = 0; i < own.batches.size(); ++i) {
      const data::PackedBatch& batch = own.batches[i];
      EXPECT_EQ(batch.packs(), micro_batch);
      EXPECT_EQ(batch.pack_ends.back(), batch.documents());
      documents += batch.documents();
      terms += batch.labels();
      for (size_t d = 0; d < size_t(batch.documents()); ++d) {
        EXPECT_EQ(batch.sample_keys[d], expected.at(batch.sample_ids[d])) << batch.sample_ids[d];
      }
    }
    EXPECT_EQ(over_ranks(documents), int64_t(expected.size()));
    EXPECT_EQ(over_ranks(terms), own.totals.terms);
  }
}

TEST_F(StepBatchesTest, AreTheSameWhetherTheyWerePreparedOrNot) {
  StepBatches ahead = batches(), between = batches();
  int64_t from_others = 0;
  for (int64_t step = 0; step < 6; ++step) {
    const auto packs_of = [&](int64_t s) {
      Packs packs = step_;
      for (int64_t& pack : packs) pack = (pack * (2 * s + 1) + s) % 64;
      return packs;
    };
    const Packs packs = packs_of(step);
    StepBatches::Own a = ahead.of_step(packs), b = between.of_step(packs);
    if (step < 5) ahead.prepare(packs_of(step + 1));
    EXPECT_EQ(a.imbalance, b.imbalance);
    EXPECT_EQ(a.totals.terms, b.totals.terms);
    ASSERT_EQ(a.batches.size(), b.batches.size());
    const Packs first = share(packs);
    for (int64_t i = 0; i < a.batches.size(); ++i) {
      const data::PackedBatch &x = a.batches[i], &y = b.batches[i];
      EXPECT_EQ(x.token_ids, y.token_ids);
      EXPECT_EQ(x.targets, y.targets);
      EXPECT_EQ(x.sample_ids, y.sample_ids);
      EXPECT_EQ(x.sample_keys, y.sample_keys);
      from_others += std::ranges::count(first, x.sample_ids.front() / 4) == 0 ? 1 : 0;
    }
  }
  // What ranks are dealt is not what they looked at: the second half of the work.
  EXPECT_TRUE(world.size() == 1 || over_ranks(from_others) > 0);
}

TEST_F(StepBatchesTest, TheNextStepIsMadeWhileThisOneIsComputed) {
  const Packs next = {11, 8, 14, 9, 10, 15, 13, 12};
  StepBatches all = batches();
  StepBatches::Own now = all.of_step(step_);
  all.prepare(next);
  // Nothing of this step was taken yet, and of_step has not been called for the next one.
  source_.wait_until_asked_for(share(next));
  take_all(now);
  StepBatches::Own then = all.of_step(next);
  take_all(then);
  const auto asked = source_.asked();
  for (const auto& [pack, thread] : asked) EXPECT_NE(thread, std::this_thread::get_id()) << pack;
  for (const int64_t pack : share(next)) EXPECT_EQ(asked.count(pack), 1u) << pack;
}

TEST_F(StepBatchesTest, WhatIsWrongIsThrownByTheStepThatUsesIt) {
  auto mesh = parallel::Mesh::single();
  source_.bad = {9};
  source_.vast = {17};
  for (const int64_t first : {8, 16}) {
    StepBatches all = batches_of(mesh.data());
    StepBatches::Own now = all.of_step({0, 1});
    all.prepare({first, first + 1});
    source_.wait_until_asked_for({first, first + 1});
    take_all(now);  // has nothing to do with it
    if (first == 8) {
      const auto message = [&]() -> std::string {
        try {
          all.of_step({8, 9});
        } catch (const InputError& error) {
          return error.what();
        }
        return "";
      }();
      EXPECT_EQ(message, "a bad pack (9): mend it");
    } else {
      EXPECT_THROW(all.of_step({16, 17}), std::bad_alloc);
    }
  }
}

// A rank that is dealt what another one has looked at first meets the fault when its turn comes.
TEST_F(StepBatchesTest, WhatIsWrongWithADealtMicroBatchIsThrownWhereItIsTaken) {
  const Packs packs = {15, 14, 13, 12, 11, 10, 9, 8};  // in turns some ranks have all long ones
  source_.bad = {packs.begin(), packs.end()};
  for (const int64_t pack : share(packs)) source_.bad.erase(pack);
  StepBatches all = batches();
  StepBatches::Own own = all.of_step(packs);
  int64_t met = 0;
  for (int64_t i = 0; i < own.batches.size() && met == 0; ++i) {
    try {
      EXPECT_FALSE(source_.bad.contains(own.batches[i].sample_ids.front() / 4));
    } catch (const InputError&) {
      ++met;
    }
  }
  EXPECT_TRUE(world.size() == 1 || over_ranks(met) > 0);
}

TEST_F(StepBatchesTest, AStepThatDoesNotComeIsForgotten) {
  auto mesh = parallel::Mesh::single();
  source_.bad = {8, 9};
  {
    StepBatches all = batches_of(mesh.data());
    StepBatches::Own last = all.of_step({0, 1});
    all.prepare({8, 9});
    take_all(last);
  }
  // The thread has ended: nobody asks any more.
  const auto asked = source_.asked();
  EXPECT_EQ(asked.count(0), 1u);
  EXPECT_LE(asked.count(8) + asked.count(9), 2u);
}

TEST_F(StepBatchesTest, AnotherStepThanThePreparedOneIsAMistake) {
  auto mesh = parallel::Mesh::single();
  StepBatches all = batches_of(mesh.data());
  all.prepare({0, 1});
  EXPECT_THROW(all.prepare({2, 3}), LogicError);
  EXPECT_THROW(all.of_step({1, 0}), LogicError);
  StepBatches::Own own = all.of_step({0, 1});
  take_all(own);
}

}  // namespace
}  // namespace elastron::train
