// The streaming rule and the tile plans are integer arithmetic: checked against the spec's numbers
// and by enumerating every pair.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "ops/attention/schedule.h"
#include "ops/attention/streaming_rule.h"
#include "ops/attention/tile_plan.h"
#include "tests/support/attention_reference.h"

namespace elastron::ops {
namespace {

using testing::spec_visible;

std::set<int64_t> keys_of(const StreamingRule& rule, int64_t query) {
  std::set<int64_t> keys;
  for (int64_t j = 0; j <= query + 3; ++j) {
    if (rule.visible(query, j)) keys.insert(j);
  }
  return keys;
}

struct RandomRule {
  StreamingRule rule;
  int64_t length, group;
};

// Blocks below, at and above the tile size, tile sizes from 1 to 64 tokens.
std::vector<RandomRule> random_rules(int count) {
  std::mt19937_64 engine(20240607);
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine);
  };
  const int64_t blocks[] = {1, 2, 3, 8, 16, 24, 64, 128}, groups[] = {1, 2, 3, 5, 8, 64};
  std::vector<RandomRule> rules;
  for (int i = 0; i < count; ++i) {
    const StreamingRule rule{blocks[draw(0, 7)], draw(0, 4), draw(1, 6)};
    rules.push_back({rule, draw(1, 330), groups[draw(0, 5)]});
  }
  return rules;
}

TEST(StreamingRule, RowsOfTheSpec) {  // spec 13.1
  const StreamingRule rule{2, 1, 2};
  for (int64_t i = 0; i <= 5; ++i) EXPECT_EQ(int64_t(keys_of(rule, i).size()), i + 1) << i;
  EXPECT_EQ(keys_of(rule, 6), (std::set<int64_t>{0, 1, 4, 5, 6}));
  EXPECT_EQ(keys_of(rule, 7), (std::set<int64_t>{0, 1, 4, 5, 6, 7}));
  EXPECT_EQ(keys_of(rule, 8), (std::set<int64_t>{0, 1, 6, 7, 8}));
  EXPECT_EQ(keys_of(rule, 9), (std::set<int64_t>{0, 1, 6, 7, 8, 9}));
}

TEST(StreamingRule, ColumnsOfTheSpec) {  // spec 13.1
  const StreamingRule rule{2, 1, 2};
  const std::set<int64_t> expected[] = {{0, 1, 2, 3, 4}, {1, 2}, {2, 3}, {3, 4}, {4}};
  for (int64_t key_block = 0; key_block < 5; ++key_block) {
    std::set<int64_t> blocks;
    for (int64_t i = 0; i < 10; ++i) {
      if (rule.visible(i, 2 * key_block) || rule.visible(i, 2 * key_block + 1))
        blocks.insert(i / 2);
    }
    EXPECT_EQ(blocks, expected[key_block]) << key_block;
  }
}

TEST(StreamingRule, CountsOfTheSpec) {  // spec 13.2
  const auto narrow = StreamingRule::from_tokens(128, 2048, 64);
  EXPECT_EQ(narrow.sink_blocks, 2);
  EXPECT_EQ(narrow.local_blocks, 32);
  EXPECT_EQ(narrow.visible_keys(2175), 2176);
  EXPECT_EQ(narrow.visible_keys(2176), 2113);
  EXPECT_EQ(narrow.visible_keys(2239), 2176);
  EXPECT_EQ(visible_pairs(narrow, 8192), 15'269'888);
  EXPECT_EQ(visible_pairs(narrow, 65536), 138'244'096);
  const auto wide = StreamingRule::from_tokens(128, 2048, 128);
  EXPECT_EQ(wide.sink_blocks, 1);
  EXPECT_EQ(wide.local_blocks, 16);
  EXPECT_EQ(wide.visible_keys(2175), 2176);
  EXPECT_EQ(wide.visible_keys(2176), 2049);
  EXPECT_EQ(wide.visible_keys(2239), 2112);
  EXPECT_EQ(visible_pairs(wide, 8192), 15'077'376);
  EXPECT_EQ(visible_pairs(wide, 65536), 136'216'576);
  EXPECT_EQ(causal_pairs(65536), 2'147'516'416);
}

TEST(StreamingRule, TokensAreRoundedUpToBlocks) {
  const auto rule = StreamingRule::from_tokens(1, 65, 64);
  EXPECT_EQ(rule.sink_blocks, 1);
  EXPECT_EQ(rule.local_blocks, 2);
  EXPECT_EQ(StreamingRule::from_tokens(0, 1, 64).sink_blocks, 0);
}

TEST(StreamingRule, AgreesWithEnumeration) {
  for (const auto& [rule, length, group] : random_rules(40)) {
    int64_t pairs = 0;
    for (int64_t i = 0; i < length; ++i) {
      int64_t keys = 0;
      for (int64_t j = 0; j < length; ++j) {
        const bool seen = spec_visible(rule, i, j);
        keys += seen ? 1 : 0;
        ASSERT_EQ(rule.visible(i, j), seen) << rule.block << " " << i << " " << j;
      }
      ASSERT_EQ(rule.visible_keys(i), keys) << i;
      pairs += keys;
    }
    EXPECT_EQ(visible_pairs(rule, length), pairs);
  }
}

TEST(TilePlan, CoversEveryPairOnce) {
  for (const auto& [rule, length, group] : random_rules(60)) {
    const int64_t tokens = tile_tokens(group);
    for (int64_t begin = 0; begin < length; begin += tokens) {
      const int64_t end = std::min(length, begin + tokens);
      const QueryTilePlan plan = plan_query_tile(rule, begin, end);
      std::map<std::pair<int64_t, int64_t>, int> visits;
      const auto visit = [&](const KeySegments& segments, bool streaming) {
        for (int s = 0; s < segments.count; ++s) {
          const KeySegment& segment = segments.items[s];
          for (int64_t i = begin; i < end; ++i) {
            for (int64_t j = segment.begin; j < segment.end; ++j) {
              const bool wanted = j <= i && spec_visible(rule, i, j) == streaming;
              // Segments without a mask hold nothing else.
              ASSERT_TRUE(wanted || segment.masked) << i << " " << j;
              if (wanted) ++visits[{i, j}];
            }
          }
        }
      };
      visit(plan.streaming, true);
      visit(plan.rest, false);
      int64_t causal = 0;
      for (int64_t i = begin; i < end; ++i) causal += i + 1;
      ASSERT_EQ(int64_t(visits.size()), causal) << begin;
      for (const auto& [pair, count] : visits) ASSERT_EQ(count, 1) << pair.first;
    }
  }
}

TEST(TilePlan, AlignedTilesAreMaskedOnTheDiagonalOnly) {
  const StreamingRule rule{64, 2, 8};
  for (int64_t begin = 1024; begin < 2048; begin += 32) {
    const QueryTilePlan plan = plan_query_tile(rule, begin, begin + 32);
    ASSERT_EQ(plan.rest.count, 1);
    EXPECT_FALSE(plan.rest.items[0].masked);
    for (int i = 0; i < plan.streaming.count; ++i) {
      EXPECT_EQ(plan.streaming.items[i].masked, plan.streaming.items[i].begin == begin);
    }
  }
}

TEST(BackwardTiles, AgreeWithEnumeration) {
  for (const auto& [rule, length, group] : random_rules(60)) {
    const int64_t tokens = tile_tokens(group);
    for (const bool full : {false, true}) {
      for (int64_t begin = 0; begin < length; begin += tokens) {
        const int64_t end = std::min(length, begin + tokens);
        int64_t earlier = 0;
        for (int64_t tile = 0; tile < tile_count(length, kTileKeys); ++tile) {
          const int64_t key_begin = tile * kTileKeys, key_end = key_begin + kTileKeys;
          int64_t seen = 0;
          for (int64_t i = begin; i < end; ++i) {
            for (int64_t j = key_begin; j < key_end; ++j) {
              seen += j <= i && (full || spec_visible(rule, i, j)) ? 1 : 0;
            }
          }
          const bool visited = tile_visited(rule, full, key_begin, key_end, begin, end);
          ASSERT_EQ(visited, seen > 0) << begin << " " << tile;
          ASSERT_EQ(tile_fully_visible(rule, full, key_begin, key_end, begin, end) && visited,
                    seen == (end - begin) * kTileKeys)
              << begin << " " << tile;
          if (!visited) continue;
          ASSERT_EQ(tile_rank(rule, full, tile, begin), earlier) << begin << " " << tile;
          ++earlier;
        }
      }
    }
  }
}

TEST(Schedule, LongestFirstEveryTileOnce) {
  const std::vector<int32_t> cu = {0, 1, 1, 200, 1224, 1300};
  const Varlen varlen{cu};
  const StreamingRule rule{16, 1, 4};
  const auto gate = [](int64_t s, int64_t h) { return (s + h) % 2 == 0; };
  for (const int64_t group : {1, 4}) {
    const auto forward = forward_schedule(varlen, 3, group, rule, gate, false);
    const auto backward = backward_schedule(varlen, 3, group, rule, gate);
    for (const auto* work : {&forward, &backward}) {
      std::set<std::tuple<int, int, int>> tiles;
      for (size_t i = 0; i < work->size(); ++i) {
        const AttentionTile& tile = (*work)[i];
        EXPECT_TRUE(tiles.insert({tile.sequence, tile.kv_head, tile.tile}).second);
        EXPECT_GE((*work)[i > 0 ? i - 1 : 0].cost, tile.cost);
      }
      int64_t expected = 0;
      for (int64_t s = 0; s < varlen.sequences(); ++s) {
        expected +=
            3 * tile_count(varlen.length(s), work == &forward ? tile_tokens(group) : kTileKeys);
      }
      EXPECT_EQ(int64_t(tiles.size()), expected);
    }
    // Whoever is waited for stands earlier: key tiles of one head keep their order.
    std::map<std::pair<int, int>, int> next;
    for (const AttentionTile& tile : backward) {
      EXPECT_EQ(tile.tile, (next[{tile.sequence, tile.kv_head}])++);
    }
    // A sparse head's last tile is cheap, a full head's is not.
    EXPECT_TRUE(gate(forward.front().sequence, forward.front().kv_head));
  }
}

}  // namespace
}  // namespace elastron::ops
