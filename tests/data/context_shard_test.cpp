// Who has which rows: every token once, whole blocks, even work.
#include "data/context_shard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "data/document.h"

namespace elastron::data {
namespace {

std::vector<int32_t> bounds(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> cu = {0};
  for (const int32_t n : lengths) cu.push_back(cu.back() + n);
  return cu;
}

// Pairs of a query and a key up to it, of one rank.
double pairs(const std::vector<ContextPiece>& pieces) {
  double sum = 0;
  for (const ContextPiece& p : pieces) {
    const double begin = p.begin, end = p.end;
    sum += (end * (end + 1) - begin * (begin + 1)) / 2;
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

// One long sequence, a pack of long and short ones, and many short ones: tokens within a block or
// two, causal pairs within 5 %.
TEST(ContextPlan, IsEven) {
  for (const int ranks : {2, 4, 8}) {
    std::vector<int32_t> mixed;
    for (int i = 0; i < 40; ++i) mixed.push_back(64 + i * 613 % 1900);
    mixed.push_back(12000);
    for (const auto& lengths : {std::vector<int32_t>{32768}, mixed}) {
      const ContextPlan plan = plan_context(bounds(lengths), ranks, kContextBlock);
      double all = 0, most = 0;
      int64_t least_tokens = plan.rows;
      for (const auto& own : plan.pieces) {
        all += pairs(own);
        most = std::max(most, pairs(own));
        least_tokens = std::min(least_tokens, tokens(own));
      }
      EXPECT_LE(most / (all / ranks), 1.05) << ranks << " ranks";
      EXPECT_LE(plan.rows - least_tokens, 2 * kContextBlock) << ranks << " ranks";
    }
  }
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
