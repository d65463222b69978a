// The properties of key sets that everything else asks: subsets, positions, pairs, masks.
#include "ops/head_pattern.h"

#include <gtest/gtest.h>

namespace elastron::ops {
namespace {

const StreamingRule kRule{64, 2, 8};

TEST(HeadPattern, SubsetsWhateverTheInput) {
  constexpr KeySetKind kKinds[] = {KeySetKind::full, KeySetKind::streaming, KeySetKind::blocks};
  for (const KeySetKind a : kKinds) {
    EXPECT_TRUE(is_subset(a, KeySetKind::full));
    EXPECT_TRUE(is_subset(a, a));
  }
  EXPECT_FALSE(is_subset(KeySetKind::full, KeySetKind::streaming));
  EXPECT_FALSE(is_subset(KeySetKind::streaming, KeySetKind::blocks));
  EXPECT_FALSE(is_subset(KeySetKind::blocks, KeySetKind::streaming));
  EXPECT_TRUE((KeySetPair{KeySetKind::full, KeySetKind::blocks}.nested()));
  EXPECT_FALSE((KeySetPair{KeySetKind::blocks, KeySetKind::streaming}.nested()));
}

TEST(HeadPattern, FindsItsRuleAndItsChooser) {
  const KeySet streaming = KeySet::streaming(kRule);
  const KeySet blocks = KeySet::blocks(XAttentionRule{.stride = 8, .block = 192});
  const HeadPattern dense{KeySet::full(), streaming}, apart{blocks, streaming};
  EXPECT_EQ(dense.rule(), kRule);
  EXPECT_EQ(dense.chooser(), nullptr);
  EXPECT_EQ(dense.block(), 0);
  EXPECT_EQ(dense.shared_by(4), 0);
  EXPECT_EQ(apart.rule(), kRule);
  EXPECT_EQ(apart.block(), 192);
  EXPECT_EQ(apart.shared_by(4), 1);
  EXPECT_EQ(apart.of(true).kind, KeySetKind::blocks);
  EXPECT_EQ(apart.of(false).kind, KeySetKind::streaming);
  EXPECT_EQ((HeadPattern{KeySet::full(), blocks}.rule()), StreamingRule{});
}

TEST(HeadPattern, WhatDependsOnThePositionAlone) {
  StreamingRule triangle = kRule;
  triangle.dense_tail = 128;
  EXPECT_TRUE((HeadPattern{KeySet::full(), KeySet::streaming(kRule)}.by_position_only()));
  EXPECT_FALSE((HeadPattern{KeySet::full(), KeySet::streaming(triangle)}.by_position_only()));
  EXPECT_FALSE((HeadPattern{KeySet::full(), KeySet::blocks({})}.by_position_only()));
}

TEST(HeadPattern, PairsOfASequence) {
  EXPECT_EQ(KeySet::full().pairs(0, 100, 100, 0.1), 5050);
  EXPECT_EQ(KeySet::streaming(kRule).pairs(0, 4096, 4096, 0.1), double(visible_pairs(kRule, 4096)));
  EXPECT_EQ(KeySet::blocks({}).pairs(0, 100, 100, 0.1), 505);
}

// Counted block by block; no share is expected, as it does not depend on the input.
TEST(HeadPattern, PairsOfTheTopBlocks) {
  for (const TopkRule rule : {TopkRule{64, 3, 1}, TopkRule{128, 1, 0}, TopkRule{64, 100, 2}}) {
    for (const int64_t length : {1, 63, 64, 65, 500, 1000}) {
      int64_t pairs = 0;
      for (int64_t i = 0; i < length; ++i) {
        const int64_t before = std::min(i / rule.block, rule.blocks - 1) * rule.block;
        pairs += before + i % rule.block + 1;
      }
      EXPECT_EQ(KeySet::blocks(rule).pairs(0, length, length, 0.1), double(pairs));
    }
  }
  const HeadPattern pattern{KeySet::full(), KeySet::blocks(TopkRule{128, 4, 2})};
  EXPECT_EQ(pattern.shared_by(4), 4);
  EXPECT_EQ(first_tokens(*pattern.chooser()), 256);
  EXPECT_EQ((TopkRule{64, int64_t{1} << 40, int64_t{1} << 39}.first_tokens()), int64_t{1} << 30);
}

// Tiles stand side by side as far as query heads share keys and mask, and lie in one block.
TEST(HeadPattern, HeadsOfATile) {
  for (const int64_t group : {1, 2, 3, 4, 5, 7, 8, 12, 64}) {
    EXPECT_EQ(heads_of_tile(group, 0), group);
    EXPECT_EQ(heads_of_tile(group, 1), 1);
    const int64_t heads = heads_of_tile(group, group);
    EXPECT_EQ(group % heads, 0);
    EXPECT_EQ(kTileRows % heads, 0);
    EXPECT_NE(group / heads % 2, 0);
  }
}

}  // namespace
}  // namespace elastron::ops
