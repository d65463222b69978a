// The streaming rule, the walks over tiles and the schedules are integer arithmetic: checked
// against docs/method.md, Worked values and by enumerating every pair.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "ops/attention/schedule.h"
#include "ops/attention/streaming_rule.h"
#include "tests/support/attention_reference.h"

namespace elastron::ops {
namespace {

using testing::name_of;
using testing::spec_visible;

// Those that models use, and one more: what the walk does follows from the sets alone.
constexpr KeySetPair kAllPairs[] = {
    testing::kFaSsa, testing::kFaXa, testing::kXaSsa, {KeySetKind::streaming, KeySetKind::blocks}};

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
    StreamingRule rule{blocks[draw(0, 7)], draw(0, 4), draw(1, 6)};
    const int64_t length = draw(1, 330);
    if (i % 3 == 0) rule.dense_tail = draw(1, 200);
    rules.push_back({rule.within(length), length, groups[draw(0, 5)]});
  }
  return rules;
}

TEST(StreamingRule, WorkedRows) {  // docs/method.md, Worked values, 1
  const StreamingRule rule{2, 1, 2};
  for (int64_t i = 0; i <= 5; ++i) EXPECT_EQ(int64_t(keys_of(rule, i).size()), i + 1) << i;
  EXPECT_EQ(keys_of(rule, 6), (std::set<int64_t>{0, 1, 4, 5, 6}));
  EXPECT_EQ(keys_of(rule, 7), (std::set<int64_t>{0, 1, 4, 5, 6, 7}));
  EXPECT_EQ(keys_of(rule, 8), (std::set<int64_t>{0, 1, 6, 7, 8}));
  EXPECT_EQ(keys_of(rule, 9), (std::set<int64_t>{0, 1, 6, 7, 8, 9}));
}

TEST(StreamingRule, WorkedColumns) {  // docs/method.md, Worked values, 1
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

TEST(StreamingRule, WorkedCounts) {  // docs/method.md, Worked values, 2
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
        const bool seen = spec_visible(rule, i, j, length);
        keys += seen ? 1 : 0;
        ASSERT_EQ(rule.visible(i, j), seen) << rule.block << " " << i << " " << j;
      }
      ASSERT_EQ(rule.visible_keys(i), keys) << i;
      pairs += keys;
    }
    EXPECT_EQ(visible_pairs(rule, length), pairs);
  }
}

// A choice of blocks for one head of one sequence, as XAttention makes them: the first block and
// the own one always, others by chance. Its queries begin at `offset`, with a block.
class RandomChoice {
 public:
  RandomChoice(int64_t length, int64_t block, double share, uint64_t seed, int64_t offset = 0)
      : block_(block),
        before_(offset / block),
        row_words_(BlockChoiceView::words_of(length, block)),
        column_words_(BlockChoiceView::words_of(length - offset, block)),
        rows_(size_t(BlockChoiceView::blocks_of(length - offset, block) * row_words_)),
        columns_(size_t(BlockChoiceView::blocks_of(length, block) * column_words_)) {
    std::mt19937_64 engine(seed);
    std::bernoulli_distribution chosen(share);
    for (int64_t i = 0; i < BlockChoiceView::blocks_of(length - offset, block); ++i) {
      for (int64_t j = 0; j <= before_ + i; ++j) {
        if (j != 0 && j != before_ + i && !chosen(engine)) continue;
        rows_[size_t(i * row_words_ + j / 32)] |= 1u << (j % 32);
        columns_[size_t(j * column_words_ + i / 32)] |= 1u << (i % 32);
      }
    }
  }
  BlockBits row(int64_t block) const { return {rows_.data() + block * row_words_}; }
  BlockBits column(int64_t block) const { return {columns_.data() + block * column_words_}; }
  bool has(int64_t query, int64_t key) const {
    return row(query / block_ - before_).has(key / block_);
  }

 private:
  int64_t block_, before_, row_words_, column_words_;
  std::vector<uint32_t> rows_, columns_;
};

TEST(BlockBits, AgreeWithEnumeration) {
  const RandomChoice choice(64 * 150, 64, 0.1, 5);
  for (int64_t i = 0; i < 150; ++i) {
    const BlockBits row = choice.row(i);
    int64_t before = 0;
    for (int64_t j = 0; j <= i; ++j) {
      ASSERT_EQ(row.count_before(j), before);
      for (const bool set : {true, false}) {
        int64_t next = j;
        while (next < i + 1 && row.has(next) != set) ++next;
        ASSERT_EQ(row.next(j, i + 1, set), next) << i << " " << j;
      }
      ASSERT_EQ(row.has(j), choice.column(j).has(i));
      before += row.has(j) ? 1 : 0;
    }
  }
}

bool in_branch(KeySetPair pair, bool open, const StreamingRule& rule, const RandomChoice& choice,
               int64_t length, int64_t i, int64_t j) {
  if (j > i) return false;
  switch (pair.of(open)) {
    case KeySetKind::full: return true;
    case KeySetKind::streaming: return spec_visible(rule, i, j, length);
    case KeySetKind::blocks: return choice.has(i, j);
  }
  return false;
}

template <int kKeys>
void every_pair_once(KeySetPair pair, const StreamingRule& rule, int64_t length, int64_t tokens,
                     int64_t block) {
  const RandomChoice choice(length, block, 0.3, uint64_t(length));
  for (int64_t begin = 0; begin < length; begin += tokens) {
    const int64_t end = std::min(length, begin + tokens);
    KeyPattern pattern{.sets = pair, .rule = rule};
    if (pair.has(ops::KeySetKind::blocks)) {
      pattern.chosen = choice.row(begin / block);
      pattern.block = int32_t(block);
    }
    std::map<std::pair<int64_t, int64_t>, Part> visits;
    KeyTileCounts counts;
    KeyTiles<kKeys> walk(pattern, begin, end, true, true);
    Part last = Part::common;
    for (KeyTile t = walk.next(); t.part != Part::end; t = walk.next()) {
      ASSERT_LE(int(last), int(t.part));
      last = t.part;
      ASSERT_EQ(t.begin % kKeys, 0);
      ASSERT_LE(t.end, end);
      (t.part == Part::common      ? counts.common
       : t.part == Part::retrieval ? counts.retrieval
                                   : counts.sparse) += 1;
      int64_t seen = 0;
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t j = t.begin; j < t.end; ++j) {
          const bool shown = spec_visible(rule, i, j, length);
          const bool kept = t.mask == KeyMask::none || (t.mask == KeyMask::causal && j <= i) ||
                            (t.mask == KeyMask::shown && shown) ||
                            (t.mask == KeyMask::hidden && j <= i && !shown);
          if (!kept) continue;
          ++seen;
          ASSERT_TRUE(visits.insert({{i, j}, t.part}).second) << i << " " << j;
        }
      }
      ASSERT_GT(seen, 0) << "a tile for nothing at " << t.begin;
    }
    const auto expected = count_key_tiles<kKeys>(pattern, begin, end, true, true);
    ASSERT_EQ(counts.common, expected.common) << begin;
    ASSERT_EQ(counts.retrieval, expected.retrieval) << begin;
    ASSERT_EQ(counts.sparse, expected.sparse) << begin;
    int64_t wanted = 0;
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        const bool retrieval = in_branch(pair, true, rule, choice, length, i, j);
        const bool sparse = in_branch(pair, false, rule, choice, length, i, j);
        if (!retrieval && !sparse) continue;
        ++wanted;
        const auto at = visits.find({i, j});
        ASSERT_NE(at, visits.end()) << i << " " << j;
        ASSERT_EQ(at->second, retrieval && sparse ? Part::common
                              : retrieval         ? Part::retrieval
                                                  : Part::sparse);
      }
    }
    ASSERT_EQ(int64_t(visits.size()), wanted);
    // A branch alone visits the tiles with its pairs, and those once.
    for (const bool open : {false, true}) {
      KeyTiles<kKeys> one(pattern, begin, end, open, !open);
      int64_t tiles = 0, pairs = 0;
      for (KeyTile t = one.next(); t.part != Part::end; t = one.next(), ++tiles) {
        for (int64_t i = begin; i < end; ++i) {
          for (int64_t j = t.begin; j < t.end; ++j) {
            const bool shown = spec_visible(rule, i, j, length);
            const bool kept = t.mask == KeyMask::none || (t.mask == KeyMask::causal && j <= i) ||
                              (t.mask == KeyMask::shown && shown) ||
                              (t.mask == KeyMask::hidden && j <= i && !shown);
            if (!kept) continue;
            ++pairs;
            ASSERT_TRUE(in_branch(pair, open, rule, choice, length, i, j)) << i << " " << j;
          }
        }
      }
      int64_t expected_pairs = 0;
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t j = 0; j <= i; ++j) {
          expected_pairs += in_branch(pair, open, rule, choice, length, i, j) ? 1 : 0;
        }
      }
      ASSERT_EQ(pairs, expected_pairs);
      ASSERT_EQ(tiles, count_key_tiles<kKeys>(pattern, begin, end, open, !open).all());
    }
  }
}

TEST(KeyTiles, CoverEveryPairOnce) {
  for (const KeySetPair pair : kAllPairs) {
    int round = 0;
    for (const auto& [rule, length, group] : random_rules(45)) {
      SCOPED_TRACE(name_of(pair) + " round " + std::to_string(round));
      const bool wide = ++round % 3 == 0;
      const int64_t block = wide || round % 2 == 0 ? 128 : 64;
      const int64_t tokens =
          pair.has(ops::KeySetKind::blocks) ? (wide ? 128 : 64) : tile_tokens(group);
      if (wide) {
        every_pair_once<128>(pair, rule, length, tokens, block);
      } else {
        every_pair_once<64>(pair, rule, length, tokens, block);
      }
      if (HasFatalFailure()) return;
    }
  }
}

TEST(KeyTiles, AlignedTilesAreMaskedOnTheDiagonalOnly) {
  const StreamingRule rule{64, 2, 8};
  for (int64_t begin = 1024; begin < 2048; begin += 32) {
    KeyTiles<64> walk({.rule = rule}, begin, begin + 32, true, true);
    for (KeyTile t = walk.next(); t.part != Part::end; t = walk.next()) {
      EXPECT_EQ(t.mask != KeyMask::none, t.end > begin) << t.begin;
    }
  }
}

TEST(QueryTiles, AgreeWithEnumeration) {
  for (const KeySetKind set : {KeySetKind::full, KeySetKind::streaming, KeySetKind::blocks}) {
    for (const auto& [rule, length, group] : random_rules(45)) {
      const bool blocks = set == KeySetKind::blocks;
      const int64_t block = group % 2 == 0 ? 128 : 64, tokens = blocks ? 64 : tile_tokens(group);
      const int64_t offset =
          blocks ? length / 2 / block * block : std::min<int64_t>(length - 1, (group * 37) % 90);
      const RandomChoice choice(length, block, 0.3, uint64_t(length), offset);
      const auto sees = [&](int64_t i, int64_t j) {
        if (j > i) return false;
        return set == KeySetKind::full ||
               (blocks ? choice.has(i, j) : spec_visible(rule, i, j, length));
      };
      std::map<int64_t, int64_t> ranks;  // of a query tile: key tiles so far
      for (int64_t key = 0; key < length; key += kTileKeys) {
        KeySetPattern pattern{.set = set, .rule = rule};
        if (blocks) {
          pattern.column = choice.column(key / block);
          pattern.block = int32_t(block);
        }
        QueryTiles walk(pattern, key, key + kTileKeys, offset, length, tokens);
        int64_t next = walk.next(), visited = 0;
        for (int64_t tile = 0; offset + tile * tokens < length; ++tile) {
          const int64_t begin = offset + tile * tokens, end = std::min(length, begin + tokens);
          int64_t seen = 0;
          for (int64_t i = begin; i < end; ++i) {
            for (int64_t j = key; j < std::min(length, key + kTileKeys); ++j) {
              seen += sees(i, j) ? 1 : 0;
              ASSERT_EQ(pair_visible(rule, set, i, j) && (!blocks || choice.has(i, j)), sees(i, j));
            }
          }
          ASSERT_EQ(seen > 0, next == tile) << begin << " " << key;
          if (seen == 0) continue;
          ASSERT_EQ(tile_fully_visible(rule, set, key, key + kTileKeys, begin, end),
                    seen == (end - begin) * kTileKeys)
              << begin << " " << key;
          const BlockBits row = blocks ? choice.row((begin - offset) / block) : BlockBits{};
          ASSERT_EQ(key_tile_rank(pattern, row, key / kTileKeys, begin, end), ranks[tile]++)
              << begin << " " << key;
          ++visited;
          next = walk.next();
        }
        ASSERT_EQ(next, -1);
        ASSERT_EQ(count_query_tiles(pattern, key, key + kTileKeys, offset, length, tokens),
                  visited);
      }
    }
  }
}

TEST(Schedule, LongestFirstEveryTileOnce) {
  const std::vector<int32_t> cu = {0, 1, 1, 200, 1224, 1300};
  std::vector<uint8_t> gate;
  for (int64_t s = 0; s < 5; ++s) {
    for (int64_t h = 0; h < 3; ++h) gate.push_back((s + h) % 2 == 0);
  }
  for (const int64_t group : {1, 4}) {
    AttentionArgs args;
    args.varlen = {cu};
    args.rule = {16, 1, 4};
    args.shape = {3 * group, 3, 64};
    args.gate = gate.data();
    const auto forward = forward_schedule(args, false);
    const auto backward = backward_schedule(args);
    for (const auto* work : {&forward, &backward}) {
      std::set<std::tuple<int, int, int>> tiles;
      for (size_t i = 0; i < work->size(); ++i) {
        const AttentionTile& tile = (*work)[i];
        EXPECT_TRUE(tiles.insert({tile.sequence, tile.head, tile.tile}).second);
        EXPECT_GE((*work)[i > 0 ? i - 1 : 0].cost, tile.cost);
      }
      int64_t expected = 0;
      for (int64_t s = 0; s < args.varlen.sequences(); ++s) {
        expected += 3 * tile_count(args.varlen.length(s),
                                   work == &forward ? tile_tokens(group) : kTileKeys);
      }
      EXPECT_EQ(int64_t(tiles.size()), expected);
    }
    // Whoever is waited for stands earlier: key tiles of one head keep their order.
    std::map<std::pair<int, int>, int> next;
    for (const AttentionTile& tile : backward) {
      EXPECT_EQ(tile.tile, (next[{tile.sequence, tile.head}])++);
    }
    // A sparse head's last tile is cheap, a full head's is not.
    EXPECT_TRUE(args.open(forward.front().sequence, forward.front().head / group));
  }
}

}  // namespace
}  // namespace elastron::ops
