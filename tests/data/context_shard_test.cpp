// Who has which rows: every token once, whole blocks, short sequences whole, even work.
#include "data/context_shard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "core/philox.h"
#include "data/document.h"

namespace elastron::data {
namespace {

std::vector<int32_t> bounds(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> cu = {0};
  for (const int32_t n : lengths) cu.push_back(cu.back() + n);
  return cu;
}

// Pairs of a query and a key up to it, of one rank. offsets: keys before each sequence's own.
double pairs(const std::vector<ContextPiece>& pieces, const std::vector<int32_t>& offsets = {}) {
  double sum = 0;
  for (const ContextPiece& p : pieces) {
    const double begin = p.begin, end = p.end;
    sum += (end * (end + 1) - begin * (begin + 1)) / 2;
    if (!offsets.empty()) sum += (end - begin) * offsets[size_t(p.sequence)];
  }
  return sum;
}

int64_t tokens(const std::vector<ContextPiece>& pieces) {
  int64_t sum = 0;
  for (const ContextPiece& p : pieces) sum += p.end - p.begin;
  return sum;
}

TEST(ContextPlan, EveryTokenIsOnOneRankInWholeBlocks) {
  for (const int ranks : {1, 2, 3, 4, 8}) {
    for (const auto& lengths : std::vector<std::vector<int32_t>>{{1},
                                                                 {64},
                                                                 {65, 0, 3},
                                                                 {1000},
                                                                 {4097, 100, 63, 64, 0, 700},
                                                                 {128, 128, 128, 128, 128},
                                                                 {0, 0}}) {
      const auto cu = bounds(lengths);
      const ContextPlan plan = plan_context(cu, ranks, kContextBlock);
      ASSERT_EQ(plan.ranks(), ranks);
      std::set<int64_t> seen;
      int64_t most = 0;
      for (const auto& own : plan.pieces) {
        most = std::max(most, tokens(own));
        for (const ContextPiece& p : own) {
          EXPECT_LT(p.begin, p.end);
          EXPECT_EQ(p.begin % kContextBlock, 0);
          EXPECT_TRUE(p.end % kContextBlock == 0 || p.end == lengths[size_t(p.sequence)]);
          for (int32_t t = p.begin; t < p.end; ++t) {
            EXPECT_TRUE(seen.insert(cu[size_t(p.sequence)] + t).second);
          }
        }
      }
      EXPECT_EQ(int64_t(seen.size()), cu.back());
      EXPECT_EQ(plan.rows, most);
    }
  }
}

// Sequences that are on several ranks.
std::set<int32_t> sequences_cut(const ContextPlan& plan) {
  std::map<int32_t, std::set<size_t>> ranks_of;
  for (size_t r = 0; r < plan.pieces.size(); ++r) {
    for (const ContextPiece& p : plan.pieces[r]) ranks_of[p.sequence].insert(r);
  }
  std::set<int32_t> cut;
  for (const auto& [sequence, ranks] : ranks_of) {
    if (ranks.size() > 1) cut.insert(sequence);
  }
  return cut;
}

// The most of a rank over what is allowed where sequences are whole.
struct Worst {
  double rows = 0, pairs = 0;
};
Worst worst(const ContextPlan& plan, const std::vector<int32_t>& offsets = {}) {
  double rows = 0, all = 0, most = 0;
  for (const auto& own : plan.pieces) {
    rows += double(tokens(own)) / plan.ranks();
    all += pairs(own, offsets) / plan.ranks();
    most = std::max(most, pairs(own, offsets));
  }
  return {.rows = double(plan.rows) / most_context_rows(rows, kContextBlock),
          .pairs = most / ((1 + kContextPairsSlack) * all)};
}

// Lengths as those of texts: most are short, few are long.
std::vector<int32_t> natural(uint64_t seed, int64_t most_tokens) {
  const RandomStream stream(seed, RandomPurpose::test);
  std::vector<int32_t> lengths;
  int64_t sum = 0;
  for (uint64_t i = 0;; ++i) {
    const auto n = int32_t(std::clamp(std::exp(6.6 + 1.2 * stream.normal_at(i)), 8.0, 32768.0));
    if (sum + n > most_tokens) return lengths;
    lengths.push_back(n);
    sum += n;
  }
}

// One long sequence, and a pack of long and short ones.
TEST(ContextPlan, IsEven) {
  for (const int ranks : {2, 4, 8}) {
    std::vector<int32_t> mixed;
    for (int i = 0; i < 40; ++i) mixed.push_back(64 + i * 613 % 1900);
    mixed.push_back(12000);
    for (const auto& lengths : {std::vector<int32_t>{32768}, mixed}) {
      const Worst most = worst(plan_context(bounds(lengths), ranks, kContextBlock));
      EXPECT_LE(most.rows, 1) << ranks << " ranks";
      EXPECT_LE(most.pairs, 1) << ranks << " ranks";
    }
  }
}

TEST(ContextPlan, SequencesAreWholeWhereTheRanksStayEven) {
  const auto plan_of = [](const std::vector<int32_t>& lengths, int ranks) {
    return plan_context(bounds(lengths), ranks, kContextBlock);
  };
  for (const int ranks : {2, 4, 8}) {
    for (const auto& [count, length] : {std::pair{64, 1024}, {8, 8192}, {2000, 31}}) {
      const auto plan = plan_of(std::vector<int32_t>(size_t(count), length), ranks);
      EXPECT_EQ(sequences_cut(plan), std::set<int32_t>{}) << ranks << " " << count;
      EXPECT_EQ(plan.rows, int64_t(count) / ranks * length) << ranks << " " << count;
    }
    EXPECT_EQ(sequences_cut(plan_of({65536}, ranks)), std::set<int32_t>{0});
  }
  // One of nine is for all, and each of the others has a rank to itself.
  const auto nine = plan_of(std::vector<int32_t>(9, 1024), 8);
  EXPECT_EQ(sequences_cut(nine).size(), 1U);
  EXPECT_EQ(nine.rows, 9 * 1024 / 8);
  // The long one is cut, the short ones fill up.
  std::vector<int32_t> long_and_short(49, 500);
  long_and_short[7] = 30000;
  EXPECT_EQ(sequences_cut(plan_of(long_and_short, 8)), std::set<int32_t>{7});
  // Rows are as even with 1 x 4096 against 4 x 1024, but not the pairs.
  EXPECT_TRUE(sequences_cut(plan_of({4096, 1024, 1024, 1024, 1024}, 2)).contains(0));
}

// Packs as they are: never less even than is said, and few sequences are cut.
TEST(ContextPlan, CutsFewOfNaturalPacks) {
  double all = 0, cut = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const int ranks = seed % 2 == 0 ? 8 : 4;
    const auto lengths = natural(seed, seed % 3 == 0 ? 131072 : 65536);
    const ContextPlan plan = plan_context(bounds(lengths), ranks, kContextBlock);
    const auto sequences = sequences_cut(plan);
    all += double(lengths.size());
    cut += double(sequences.size());
    const Worst most = worst(plan);
    EXPECT_LE(most.rows, 1) << seed;
    EXPECT_LE(most.pairs, 1) << seed;
    // Those with the most pairs.
    int32_t shortest_cut = std::numeric_limits<int32_t>::max(), longest_whole = 0;
    for (size_t s = 0; s < lengths.size(); ++s) {
      if (sequences.contains(int32_t(s))) {
        shortest_cut = std::min(shortest_cut, lengths[s]);
      } else {
        longest_whole = std::max(longest_whole, lengths[s]);
      }
    }
    EXPECT_GE(shortest_cut, longest_whole) << seed;
  }
  EXPECT_LT(cut / all, 0.15);
  RecordProperty("share_cut", std::to_string(cut / all));
}

// Keys before a sequence's own are work too.
TEST(ContextPlan, CountsSharedPrompts) {
  const std::vector<int32_t> lengths = {512, 512, 512, 512, 512, 512, 512, 512};
  const std::vector<int32_t> offsets = {8000, 0, 0, 0, 0, 0, 0, 0};
  const auto plan = plan_context(bounds(lengths), 2, kContextBlock, offsets);
  EXPECT_TRUE(sequences_cut(plan).contains(0));
  EXPECT_LE(worst(plan, offsets).rows, 1);
  EXPECT_LE(worst(plan, offsets).pairs, 1);
  EXPECT_TRUE(sequences_cut(plan_context(bounds(lengths), 2, kContextBlock)).empty());
}

TEST(ContextPlan, DoesNotDependOnAnythingElse) {
  const auto cu = bounds({500, 64, 3000, 129});
  const auto a = plan_context(cu, 4, kContextBlock), b = plan_context(cu, 4, kContextBlock);
  for (int r = 0; r < 4; ++r) {
    ASSERT_EQ(a.pieces[size_t(r)].size(), b.pieces[size_t(r)].size());
    for (size_t i = 0; i < a.pieces[size_t(r)].size(); ++i) {
      EXPECT_EQ(a.pieces[size_t(r)][i].begin, b.pieces[size_t(r)][i].begin);
      EXPECT_EQ(a.pieces[size_t(r)][i].sequence, b.pieces[size_t(r)][i].sequence);
    }
  }
}

TEST(ContextShard, HasItsRowsOfTheBatch) {
  Document long_one, short_one;
  for (int i = 0; i < 300; ++i) long_one.ids.push_back(i % 50);
  for (int i = 0; i < 40; ++i) short_one.ids.push_back(100 + i);
  long_one.user_length = 200;
  short_one.user_length = 20;
  const PackedBatch whole = make_packed_batch({&long_one, &short_one});
  const ContextPlan plan = plan_context(whole.cu_seqlens, 4, kContextBlock);
  int64_t labels = 0, real = 0;
  std::vector<int64_t> last_tokens;
  for (int r = 0; r < 4; ++r) {
    const PackedBatch own = shard(whole, plan, r);
    for (const auto& [sequence, row] : own.last_rows()) {
      last_tokens.push_back(sequence);
      const auto there = size_t(whole.cu_seqlens[size_t(sequence) + 1] - 1);
      EXPECT_EQ(own.token_ids[size_t(row)], whole.token_ids[there]);
      EXPECT_EQ(own.positions[size_t(row)], whole.positions[there]);
    }
    EXPECT_EQ(own.tokens(), plan.rows);
    EXPECT_EQ(own.documents(), 2);
    EXPECT_EQ(own.sample_keys, whole.sample_keys);
    labels += own.labels();
    real += own.cu_seqlens.back();
    for (int64_t s = 0; s < own.sequences(); ++s) {
      const int64_t document = own.document(s);
      for (int64_t i = 0; i < own.length(s); ++i) {
        const auto row = size_t(own.cu_seqlens[size_t(s)] + i);
        const auto there = size_t(whole.cu_seqlens[size_t(document)] + own.offset(s) + i);
        EXPECT_EQ(own.token_ids[row], whole.token_ids[there]);
        EXPECT_EQ(own.targets[row], whole.targets[there]);
        EXPECT_EQ(own.positions[row], whole.positions[there]);
      }
    }
    for (auto row = size_t(own.cu_seqlens.back()); row < size_t(plan.rows); ++row) {
      EXPECT_EQ(own.targets[row], kNoLabel);
    }
  }
  std::ranges::sort(last_tokens);
  EXPECT_EQ(last_tokens, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(whole.last_rows(), (std::map<int64_t, int32_t>{{0, 299}, {1, 339}}));
  EXPECT_EQ(labels, whole.labels());
  EXPECT_EQ(real, whole.tokens());
}

}  // namespace
}  // namespace elastron::data
