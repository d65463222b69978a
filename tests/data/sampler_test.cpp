#include "data/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "core/philox.h"
#include "data/source.h"
#include "tests/data/support.h"

namespace elastron::data {
namespace {

using Order = std::vector<int64_t>;

Order take(Sampler& sampler, int64_t steps) {
  Order all;
  for (int64_t s = 0; s < steps; ++s) {
    for (const int64_t pack : sampler.next_step()) all.push_back(pack);
  }
  return all;
}

// Values of tests/oracle/shuffle_order.py.
TEST(Sampler, OrderIsFixedForever) {
  Sampler sampler(10, "x", 42, 5);
  EXPECT_EQ(take(sampler, 2), (Order{4, 7, 8, 1, 6, 2, 0, 5, 3, 9}));
  EXPECT_EQ(take(sampler, 2), (Order{9, 7, 4, 2, 5, 3, 6, 0, 8, 1}));
  EXPECT_EQ(take(sampler, 2), (Order{1, 7, 3, 4, 6, 9, 0, 5, 8, 2}));
  Sampler wide(5, "x", (uint64_t(1) << 40) + 7, 5);
  EXPECT_EQ(take(wide, 2), (Order{4, 2, 3, 1, 0, 3, 1, 2, 0, 4}));
}

TEST(Sampler, AnEpochHasEachPackOnceAndDropsItsRemainder) {
  Sampler sampler(11, "x", 1, 3);
  std::set<Order> epochs;
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    const Order packs = take(sampler, 3);  // 9 of 11
    EXPECT_EQ(sampler.epoch(), epoch);
    EXPECT_EQ(sampler.position(), 9);
    const std::set<int64_t> different(packs.begin(), packs.end());
    EXPECT_EQ(different.size(), 9u);
    EXPECT_TRUE(std::ranges::all_of(packs, [](int64_t p) { return p >= 0 && p < 11; }));
    epochs.insert(packs);
  }
  EXPECT_EQ(epochs.size(), 4u);
}

TEST(Sampler, UnlimitedPacksComeInOrder) {
  Sampler sampler(PackSource::kUnlimited, "x", 1, 3);
  EXPECT_EQ(take(sampler, 3), (Order{0, 1, 2, 3, 4, 5, 6, 7, 8}));
  Sampler resumed(PackSource::kUnlimited, "x", 1, 3);
  resumed.restore(sampler.state());
  EXPECT_EQ(take(resumed, 1), (Order{9, 10, 11}));
}

// Any chain of (run some steps, stop, resume on another number of data ranks) sees the packs of the
// uninterrupted run, none lost and none twice. Each rank has a sampler of its own and takes every
// n-th micro batch of the step.
TEST(Sampler, ChainsOfStopsAndLayoutsGiveTheSameOrder) {
  constexpr int64_t kStep = 8, kMicroBatch = 2, kSteps = 60;
  for (const int64_t packs : {int64_t(8), int64_t(29), int64_t(64), PackSource::kUnlimited}) {
    Sampler whole(packs, "x", 9, kStep);
    const Order expected = take(whole, kSteps);
    for (uint32_t chain = 0; chain < 25; ++chain) {
      RandomStream random(3, RandomPurpose::test, chain);
      std::map<std::string, std::string> cursor;
      Order seen;
      while (int64_t(seen.size()) < kSteps * kStep) {
        const int64_t ranks = int64_t(1) << random.next_below(3);
        std::vector<Sampler> samplers;
        for (int64_t r = 0; r < ranks; ++r) {
          samplers.emplace_back(packs, "x", 9, kStep);
          if (!cursor.empty()) samplers.back().restore(cursor);
        }
        int64_t steps = random.next_below(12);
        for (; steps > 0 && int64_t(seen.size()) < kSteps * kStep; --steps) {
          Order step(kStep, -1);
          for (int64_t r = 0; r < ranks; ++r) {
            const Order packs_of_step = samplers[size_t(r)].next_step();
            for (int64_t j = r; j < kStep / kMicroBatch; j += ranks) {
              for (int64_t i = j * kMicroBatch; i < (j + 1) * kMicroBatch; ++i) {
                EXPECT_EQ(step[size_t(i)], -1);
                step[size_t(i)] = packs_of_step[size_t(i)];
              }
            }
          }
          seen.insert(seen.end(), step.begin(), step.end());
        }
        for (const Sampler& s : samplers) EXPECT_EQ(s.state(), samplers[0].state());
        cursor = samplers[0].state();
      }
      ASSERT_EQ(seen, expected) << "packs " << packs << ", chain " << chain;
    }
  }
}

TEST(Sampler, TheUpcomingStepIsTheNextOneAndMovesNothing) {
  for (const int64_t packs : {int64_t(3), int64_t(11), PackSource::kUnlimited}) {
    Sampler sampler(packs, "x", 1, 3), plain(packs, "x", 1, 3);
    for (int64_t step = 0; step < 12; ++step) {
      const auto state = sampler.state();
      const auto passes = sampler.passes();
      const Order upcoming = sampler.upcoming_step();
      EXPECT_EQ(sampler.upcoming_step(), upcoming);
      EXPECT_EQ(sampler.state(), state);
      EXPECT_EQ(sampler.passes(), passes);
      EXPECT_EQ(sampler.next_step(), upcoming);
      EXPECT_EQ(plain.next_step(), upcoming) << "packs " << packs << ", step " << step;
      EXPECT_EQ(sampler.state(), plain.state());
    }
  }
}

TEST(Sampler, ARestoredOneForgetsWhatWasUpcoming) {
  Sampler sampler(10, "data", 42, 5), early(10, "data", 42, 5);
  const auto begin = early.state();
  take(sampler, 4);
  sampler.upcoming_step();  // of the third epoch
  sampler.restore(begin);
  EXPECT_EQ(take(sampler, 6), take(early, 6));
}

TEST(Sampler, StateIsRestoredExactly) {
  Sampler sampler(10, "data", 42, 3);
  take(sampler, 5);
  const auto state = sampler.state();
  EXPECT_EQ(state, (std::map<std::string, std::string>{{"epoch", "1"},
                                                       {"position", "6"},
                                                       {"seed", "42"},
                                                       {"packs", "10"},
                                                       {"packs_per_step", "3"},
                                                       {"fingerprint", "data"}}));
  Sampler resumed(10, "data", 42, 3);
  resumed.restore(state);
  EXPECT_EQ(resumed.state(), state);
}

TEST(Sampler, RefusesACursorThatIsNotItsOwn) {
  Sampler own(10, "data", 42, 3);
  take(own, 1);
  const auto good = own.state();
  const struct {
    std::string key, value, message;
  } table[] = {
      {"fingerprint", "other", "belongs to other data: fingerprint is other there and data here"},
      {"packs", "11", "belongs to other data: packs is 11 there and 10 here"},
      {"seed", "43", "seed is 43 there and 42 here"},
      {"packs_per_step", "4", "packs_per_step is 4 there and 3 here"},
      {"epoch", "-1", "the data cursor is not a number"},
      {"epoch", "", "the data cursor is not a number"},
      {"position", "3x", "the data cursor is not a number"},
      {"position", "99999999999999999999", "the data cursor is not a number"},
      {"position", "11", "the data cursor is out of range"},
  };
  for (const auto& row : table) {
    auto bad = good;
    bad[row.key] = row.value;
    const std::string message = test::error_of<CheckpointError>([&] { own.restore(bad); });
    EXPECT_NE(message.find(row.message), message.npos) << row.key << ": " << message;
    EXPECT_EQ(own.state(), good) << "a refused cursor changed the sampler";
  }
  for (const auto& [key, value] : good) {
    auto bad = good;
    bad.erase(key);
    EXPECT_EQ(
        test::error_of<CheckpointError>([&] { own.restore(bad); }),
        "the data cursor lacks '" + key + "' (/data): the checkpoint is damaged; choose another");
  }
}

TEST(Sampler, NeedsAStepOfPacks) {
  const std::string message = test::error_of<UsageError>([] { Sampler(7, "x", 1, 8); });
  EXPECT_NE(message.find("the data has 7 packs, a step needs 8 (train.global_batch)"), message.npos)
      << message;
}

}  // namespace
}  // namespace elastron::data
