// The work lists of the attention kernels: every tile once, in the order and with the cost that the
// host works out by itself, and how even the work is that they give.
#include "ops/cuda/attention/tile_schedule.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <random>

#include "ops/attention/key_tiles.h"
#include "ops/backend.h"
#include "tests/ops/cuda/both_devices.h"
#include "tests/support/attention_reference.h"

namespace elastron::testing {
namespace {

using ops::KeySetKind;
using ops::KeySetPair;
using ops::cuda::Pairs;
using ops::cuda::ScheduledTile;

struct Problem {
  KeySetPair sets = kFaSsa;
  ops::StreamingRule rule;
  int64_t q_heads = 1, kv_heads = 1;
  std::vector<int32_t> cu, cu_keys, whole;  // the last two may be empty
  std::vector<uint8_t> gate;
  int64_t block = 128;
  double chosen = 0.3;  // of the blocks
  bool shared = false;  // one mask for the query heads of a kv head

  int64_t sequences() const { return int64_t(cu.size()) - 1; }
  ops::Varlen varlen() const { return {cu, cu_keys, whole}; }
  bool blocks() const { return sets.has(KeySetKind::blocks); }
  int64_t shared_by() const { return shared ? q_heads / kv_heads : 1; }
  int64_t tile_heads() const {
    return ops::heads_of_tile(q_heads / kv_heads, blocks() ? shared_by() : 0);
  }
};

// Blocks at random, with those that are always chosen.
struct Bits {
  std::vector<uint32_t> rows, columns;
  std::vector<int32_t> starts;

  Bits(const Problem& p, std::mt19937& random)
      : starts(ops::block_choice_starts(p.varlen(), p.block)) {
    const int64_t mask_words = starts.back();
    rows.resize(size_t(p.q_heads / p.shared_by() * mask_words));
    columns = rows;
    const ops::BlockChoiceView view = this->view(p);
    std::uniform_real_distribution<double> uniform;
    for (int64_t h = 0; h < p.q_heads; h += p.shared_by()) {
      for (int64_t s = 0; s < p.sequences(); ++s) {
        const ops::Varlen varlen = p.varlen();
        const int64_t tokens = varlen.length(s), keys = varlen.key_length(s);
        const int64_t before = varlen.offset(s) / p.block;
        for (int64_t i = 0; i < ops::BlockChoiceView::blocks_of(tokens, p.block); ++i) {
          for (int64_t j = 0; j <= before + i; ++j) {
            if (j != 0 && j != before + i && uniform(random) >= p.chosen) continue;
            rows[size_t(view.at(h, s, keys, i) + j / 32)] |= 1u << j % 32;
            columns[size_t(view.at(h, s, tokens, j) + i / 32)] |= 1u << i % 32;
          }
        }
      }
    }
  }
  ops::BlockChoiceView view(const Problem& p) const {
    return {rows.data(),      columns.data(),         starts.data(),   starts.back(),
            int32_t(p.block), int32_t(p.shared_by()), int32_t(p.block)};
  }
};

class TileSchedules : public test::BothDevices {
 protected:
  // What is on the device while a list is built.
  struct Uploaded {
    Tensor gate, cu, cu_keys, whole, rows, columns, starts;
    ops::AttentionArgs args;
    ops::cuda::SequenceTiles tiles;
  };
  Uploaded upload(const Problem& p, const Bits& bits, bool with_gate = true) {
    Uploaded u;
    const auto there = [&](const auto& values) {
      return ops::on_device(std::span(values.data(), values.size()), *gpu_);
    };
    u.gate = there(p.gate);
    u.cu = there(p.cu);
    u.cu_keys = there(p.cu_keys.empty() ? p.cu : p.cu_keys);
    u.whole = there(p.whole);
    u.rows = there(bits.rows);
    u.columns = there(bits.columns);
    u.starts = there(bits.starts);
    u.args.gate = with_gate ? u.gate.data<uint8_t>() : nullptr;
    u.args.varlen = p.varlen();
    u.args.sets = p.sets;
    u.args.rule = p.rule;
    u.args.shape = {p.q_heads, p.kv_heads, 64};
    u.args.choice = bits.view(p);
    u.args.choice.rows = static_cast<const uint32_t*>(u.rows.raw());
    u.args.choice.columns = static_cast<const uint32_t*>(u.columns.raw());
    u.args.choice.starts = static_cast<const int32_t*>(u.starts.raw());
    u.tiles.cu_seqlens = static_cast<const int32_t*>(u.cu.raw());
    u.tiles.cu_keys = static_cast<const int32_t*>(u.cu_keys.raw());
    if (!p.whole.empty()) u.tiles.whole_lengths = static_cast<const int32_t*>(u.whole.raw());
    return u;
  }
  std::vector<ScheduledTile> read(const ops::cuda::TileQueue& queue) {
    std::vector<ScheduledTile> tiles(size_t(queue.count));
    int32_t next = -1;
    if (!tiles.empty()) {
      gpu_->copy_to_host(tiles.data(), queue.tiles, tiles.size() * sizeof(ScheduledTile));
    }
    gpu_->copy_to_host(&next, queue.next, sizeof next);
    EXPECT_EQ(next, 0);
    return tiles;
  }
};

bool open(const Problem& p, int64_t sequence, int64_t head) {
  return p.gate[size_t(sequence * p.kv_heads + head / (p.q_heads / p.kv_heads))] != 0;
}

// The list as the header words it: all tiles, sorted.
std::vector<ScheduledTile> expected_tiles(
    const Problem& p, int64_t tile_heads, const std::function<int64_t(int64_t sequence)>& count,
    const std::function<int64_t(int64_t sequence, int64_t head, int64_t tile)>& cost) {
  std::vector<ScheduledTile> tiles;
  const int64_t group = p.q_heads / p.kv_heads;
  for (int64_t s = 0; s < p.sequences(); ++s) {
    for (int64_t kv = 0; kv < p.kv_heads; ++kv) {
      for (int64_t t = 0; t < count(s); ++t) {
        for (int64_t h = kv * group; h < (kv + 1) * group; h += tile_heads) {
          tiles.push_back({int32_t(s), int32_t(h), int32_t(t), int32_t(cost(s, h, t))});
        }
      }
    }
  }
  std::stable_sort(tiles.begin(), tiles.end(),
                   [](const auto& a, const auto& b) { return a.cost > b.cost; });
  return tiles;
}

void expect_equal(const std::vector<ScheduledTile>& a, const std::vector<ScheduledTile>& b,
                  const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_TRUE(a[i].sequence == b[i].sequence && a[i].head == b[i].head &&
                a[i].tile == b[i].tile && a[i].cost == b[i].cost)
        << what << ", place " << i;
  }
}

template <int kKeys>
std::vector<ScheduledTile> expected_query_tiles(const Problem& p, const Bits& bits, int64_t rows,
                                                bool both, Pairs pairs) {
  const int64_t tile_heads = p.tile_heads();
  const int64_t tokens = rows / tile_heads;
  const ops::Varlen varlen = p.varlen();
  return expected_tiles(
      p, tile_heads, [&](int64_t s) { return (varlen.length(s) + tokens - 1) / tokens; },
      [&](int64_t s, int64_t head, int64_t tile) -> int64_t {
        if (pairs == Pairs::closed && open(p, s, head)) return 0;
        const int64_t length = varlen.key_length(s), begin = varlen.offset(s) + tile * tokens;
        const int64_t end = std::min(begin + tokens, length);
        ops::KeyPattern pattern{
            .sets = p.sets, .rule = p.rule.within(varlen.whole_length(s)), .chosen = {}};
        if (p.blocks()) {
          pattern.block = int32_t(p.block);
          pattern.chosen = bits.view(p).row(head, s, length, (begin - varlen.offset(s)) / p.block);
        }
        // A walk, where the device counts.
        const bool full = open(p, s, head);
        ops::KeyTiles<kKeys> walk(pattern, begin, end, both || full, both || !full);
        int64_t count = 0;
        while (walk.next().part != ops::Part::end) ++count;
        return count;
      });
}

// The problem of a round: any pair, ragged sequences, some of them empty, prompts before them.
Problem random_problem(std::mt19937& random, int round) {
  Problem p;
  p.sets = kPairs[round % 3];
  p.shared = round % 4 < 2;
  p.kv_heads = 1 + int64_t(random() % 4);
  p.q_heads = (const int64_t[]){1, 2, 3, 4, 8}[round % 5] * p.kv_heads;
  p.rule = {1 + int64_t(random() % 100), int64_t(random() % 3), 1 + int64_t(random() % 4)};
  if (round % 7 == 0) p.rule.dense_tail = 1 + int64_t(random() % 200);
  p.cu = {0};
  for (int s = int(random() % 6); s >= 0; --s) {
    p.cu.push_back(p.cu.back() + int32_t(random() % 3 == 0 ? 0 : random() % 1500));
  }
  if (round % 2 == 0) {
    p.cu_keys = {0};
    for (size_t s = 0; s + 1 < p.cu.size(); ++s) {
      const auto before = int32_t(p.blocks() ? random() % 4 * uint64_t(p.block) : random() % 300);
      p.cu_keys.push_back(p.cu_keys.back() + p.cu[s + 1] - p.cu[s] + before);
      // With 0 positions more, and with as many as reach over the dense tail.
      p.whole.push_back(p.cu_keys.back() - p.cu_keys[s] + int32_t(random() % 3 * 100));
    }
  }
  for (int64_t i = 0; i < p.sequences() * p.kv_heads; ++i) p.gate.push_back(random() % 2);
  return p;
}

TEST_F(TileSchedules, EveryQueryTileOnceAndLongestFirst) {
  std::mt19937 random(1);
  for (int round = 0; round < 60; ++round) {
    const Problem p = random_problem(random, round);
    const Bits bits(p, random);
    const bool both = round % 2 == 0, small = round % 3 != 2;
    const Pairs pairs = round % 4 == 3 ? Pairs::closed : Pairs::all;
    const Uploaded u = upload(p, bits);
    const auto schedule = ops::cuda::schedule_query_tiles(
        u.args, u.tiles, {small ? 64 : 128, small ? 64 : 128}, both, pairs, *gpu_, gpu_->stream());
    expect_equal(read(schedule.queue()),
                 small ? expected_query_tiles<64>(p, bits, 64, both, pairs)
                       : expected_query_tiles<128>(p, bits, 128, both, pairs),
                 "round " + std::to_string(round));
  }
}

// Without gates all pairs are closed; without tokens there is nothing.
TEST_F(TileSchedules, NoGatesAndNoTokens) {
  std::mt19937 random(2);
  Problem p;
  p.q_heads = 4;
  p.kv_heads = 2;
  p.rule = {16, 1, 2};
  p.cu = {0, 300};
  p.gate = {0, 0};
  const Bits bits(p, random);
  const auto closed = expected_query_tiles<64>(p, bits, 64, false, Pairs::all);
  p.gate = {1, 1};
  const Uploaded u = upload(p, bits, false);
  expect_equal(read(ops::cuda::schedule_query_tiles(u.args, u.tiles, {64, 64}, false, Pairs::all,
                                                    *gpu_, gpu_->stream())
                        .queue()),
               closed, "no gates");
  p.cu = {0, 0, 0};
  p.gate = {1, 0, 0, 1};
  const Uploaded none = upload(p, Bits(p, random));
  EXPECT_EQ(ops::cuda::schedule_query_tiles(none.args, none.tiles, {64, 64}, false, Pairs::all,
                                            *gpu_, gpu_->stream())
                .queue()
                .count,
            0);
}

// Query tiles with a pair of the key tile's that the selected branch sees, pair by pair.
int64_t visits(const Problem& p, const Bits& bits, int64_t s, int64_t kv_head, int64_t key_begin,
               int64_t key_end, int64_t tokens, int64_t from, int64_t to) {
  const ops::Varlen varlen = p.varlen();
  const int64_t length = varlen.key_length(s), offset = varlen.offset(s);
  const int64_t group = p.q_heads / p.kv_heads;
  const ops::KeySetKind set = p.sets.of(open(p, s, kv_head * group));
  const ops::StreamingRule rule = p.rule.within(varlen.whole_length(s));
  int64_t n = 0;
  for (int64_t tile = from; tile < to; ++tile) {
    const int64_t begin = offset + tile * tokens, end = std::min(begin + tokens, length);
    for (int64_t h = 0; h < group; h += p.tile_heads()) {
      bool seen = false;
      for (int64_t i = begin; i < end && !seen; ++i) {
        for (int64_t j = key_begin; j < std::min(key_end, i + 1) && !seen; ++j) {
          seen = set == ops::KeySetKind::full ||
                 (set == ops::KeySetKind::streaming
                      ? rule.visible(i, j)
                      : bits.view(p)
                            .row(kv_head * group + h, s, length, (i - offset) / p.block)
                            .has(j / p.block));
        }
      }
      n += seen;
    }
  }
  return n;
}

TEST_F(TileSchedules, EveryKeyTileOnceAndLongestFirst) {
  std::mt19937 random(4);
  int pieces = 0;
  for (int round = 0; round < 45; ++round) {
    Problem p = random_problem(random, round);
    if (round % 5 == 4) p.cu.back() += 4000;  // enough for parts
    if (!p.cu_keys.empty()) {
      p.cu_keys.back() += p.cu.back() - p.cu[p.cu.size() - 2];
      p.whole.back() += p.cu.back() - p.cu[p.cu.size() - 2];
    }
    const Bits bits(p, random);
    const bool cut = round % 3 != 1;
    const Pairs pairs = round % 4 == 3 ? Pairs::closed : Pairs::all;
    const Uploaded u = upload(p, bits);
    const auto schedule =
        ops::cuda::schedule_key_tiles(u.args, u.tiles, {64, 64}, cut, pairs, *gpu_, gpu_->stream());
    const ops::cuda::KeyTileQueue& queue = schedule.queue();
    const ops::Varlen varlen = p.varlen();
    const int64_t group = p.q_heads / p.kv_heads;
    const int64_t tokens = 64 / p.tile_heads();
    const auto key_tiles = [&](int64_t s) { return int32_t((varlen.key_length(s) + 63) / 64); };
    const auto query_tiles = [&](int64_t s) {
      return int32_t((varlen.length(s) + tokens - 1) / tokens);
    };
    const auto split = [&](int64_t s) { return queue.split.of(key_tiles(s), query_tiles(s)); };
    const auto expected = expected_tiles(
        p, group, [&](int64_t s) { return split(s).items(key_tiles(s)); },
        [&](int64_t s, int64_t head, int64_t item) -> int64_t {
          const bool opened = open(p, s, head);
          if (pairs == Pairs::closed && opened) return 0;
          const auto part = split(s).at(int32_t(item));
          const bool whole =
              p.sets.of(opened) == ops::KeySetKind::full || item >= split(s).tiles * split(s).parts;
          if (whole && part.part > 0) return 0;
          const int32_t share = split(s).share(query_tiles(s));
          pieces += whole ? 0 : 1;
          const int64_t begin = part.tile * 64,
                        end = std::min<int64_t>(begin + 64, varlen.key_length(s));
          return std::max<int64_t>(
              1,
              visits(p, bits, s, head / group, begin, end, tokens, whole ? 0 : part.part * share,
                     whole ? query_tiles(s) : std::min((part.part + 1) * share, query_tiles(s))));
        });
    expect_equal(read(queue.queue), expected, "round " + std::to_string(round));
    if (!cut) {
      EXPECT_EQ(queue.all_pieces, 0);
    }
  }
  EXPECT_GT(pieces, 0);
}

TEST(KeySplit, PartsOfTheFirstTiles) {
  const ops::cuda::KeySplitRule two{.tiles = 2};
  EXPECT_EQ(two.of(100, 256).parts, 1);  // short: whole
  EXPECT_EQ(two.of(0, 0).items(0), 0);
  const auto split = two.of(1024, 4096);
  EXPECT_EQ(split.parts, 16);
  EXPECT_EQ(split.items(1024), 1022 + 32);
  EXPECT_EQ(split.at(17).tile, 1);
  EXPECT_EQ(split.at(17).part, 1);
  EXPECT_EQ(split.at(32).tile, 2);
  EXPECT_EQ(split.at(1053).tile, 1023);
  EXPECT_EQ(split.share(4096), 256);
  EXPECT_EQ(two.of(1 << 14, 1 << 20).parts, 64);  // parts grow with the sequence then
  EXPECT_EQ(ops::cuda::KeySplitRule{.tiles = 32}.of(1024, 4096).parts, 4);
  EXPECT_EQ(ops::cuda::KeySplitRule{.tiles = 65}.of(1024, 4096).parts, 1);
  EXPECT_EQ(two.of(1, 4096).tiles, 1);
}

// Workers take the next tile when they have done one; over what each would have if all had the
// same.
double makespan_over_balance(const std::vector<int64_t>& costs, int workers) {
  std::priority_queue<int64_t, std::vector<int64_t>, std::greater<>> busy_until;
  for (int i = 0; i < workers; ++i) busy_until.push(0);
  int64_t sum = 0, last = 0;
  for (const int64_t cost : costs) {
    const int64_t end = busy_until.top() + cost;
    busy_until.pop();
    busy_until.push(end);
    sum += cost;
    last = std::max(last, end);
  }
  return double(last) * workers / double(sum);
}
// Worker w has tiles w, w + workers and so on.
double round_robin_over_balance(const std::vector<int64_t>& costs, int workers) {
  std::vector<int64_t> busy(size_t(workers), 0);
  int64_t sum = 0;
  for (size_t i = 0; i < costs.size(); ++i) {
    busy[i % size_t(workers)] += costs[i];
    sum += costs[i];
  }
  return double(*std::max_element(busy.begin(), busy.end())) * workers / double(sum);
}
std::vector<int64_t> costs_of(const std::vector<ScheduledTile>& tiles) {
  std::vector<int64_t> costs;
  for (const auto& t : tiles) costs.push_back(t.cost);
  return costs;
}

// Of a model of 32 query heads and 8 kv heads, of which 2 attend to everything, on 132 workers.
Problem one_sequence(int32_t tokens) {
  Problem p;
  p.q_heads = 32;
  p.kv_heads = 8;
  p.cu = {0, tokens};
  p.gate = {0, 0, 1, 0, 0, 0, 1, 0};
  return p;
}

TEST_F(TileSchedules, LongestFirstIsEven) {
  std::mt19937 random(3);
  for (const int32_t tokens : {8192, 16384, 65536}) {
    Problem p = one_sequence(tokens);
    const Bits none(p, random);
    const Uploaded u = upload(p, none);
    const auto tiles = read(ops::cuda::schedule_query_tiles(u.args, u.tiles, {128, 128}, false,
                                                            Pairs::all, *gpu_, gpu_->stream())
                                .queue());
    const double sorted = makespan_over_balance(costs_of(tiles), 132);
    // As a plain grid has them: heads one after the other.
    auto unsorted = tiles;
    std::stable_sort(unsorted.begin(), unsorted.end(), [](const auto& a, const auto& b) {
      return a.head != b.head ? a.head < b.head : a.tile < b.tile;
    });
    const double fixed = round_robin_over_balance(costs_of(unsorted), 132);
    EXPECT_LE(sorted, 1.004) << tokens;
    EXPECT_GE(fixed, 1.02) << tokens;
    std::printf("%d tokens: longest first %.4f, round robin %.4f of perfect balance\n", tokens,
                sorted, fixed);
  }
}

// Two blocks of the backward pass run on a multiprocessor. With few kv heads, as a rank of a tensor
// parallel group has them, an uncut key tile of the sink is what everybody waits for.
TEST_F(TileSchedules, KeyTilesOfTheSinkAreCut) {
  std::mt19937 random(5);
  for (const int64_t kv_heads : {1, 2, 8}) {
    for (const bool some_open : {false, true}) {
      Problem p = one_sequence(65536);
      p.kv_heads = kv_heads;
      p.q_heads = 4 * kv_heads;
      p.gate.assign(size_t(kv_heads), 0);
      if (some_open) p.gate[0] = 1;
      const Uploaded u = upload(p, Bits(p, random));
      double even[2];
      for (const bool cut : {false, true}) {
        even[cut] = makespan_over_balance(
            costs_of(read(ops::cuda::schedule_key_tiles(u.args, u.tiles, {64, 64}, cut, Pairs::all,
                                                        *gpu_, gpu_->stream())
                              .queue()
                              .queue)),
            264);
      }
      // What is left is that a worker has four tiles, or five.
      EXPECT_LE(even[1], kv_heads == 8 ? 1.02 : 1.25);
      if (kv_heads == 1 && !some_open) {
        EXPECT_GE(even[0], 2);
      }
      std::printf("%d kv heads, %s: %.3f of perfect balance, uncut %.3f\n", int(kv_heads),
                  some_open ? "one open" : "all closed", even[1], even[0]);
    }
  }
}

}  // namespace
}  // namespace elastron::testing
