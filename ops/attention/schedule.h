// Work lists of the attention kernels, longest first: heads of one layer differ in cost by an order
// of magnitude, so whoever is free takes the longest piece that is left (docs/method.md, Costs).
// For the host, which must be able to read the gate and the chosen blocks.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "ops/attention/args.h"
#include "ops/attention/tile_plan.h"

namespace elastron::ops {

struct AttentionTile {
  int32_t sequence;
  int32_t head;       // forward: the tile's first query head; backward: kv head
  int32_t tile;       // query tile (forward) or key tile (backward) of the sequence
  int64_t cost;       // in tile pairs; only compared
  int32_t tiles = 1;  // forward: so many query tiles, up to the sequence's end
};

inline void longest_first(std::vector<AttentionTile>& work) {
  std::stable_sort(work.begin(), work.end(),
                   [](const auto& a, const auto& b) { return a.cost > b.cost; });
}

// Query tiles; `both` branches of every head are wanted, or only the selected one. `at_once`: so many
// are one piece of work, unless each may read blocks of its own.
inline std::vector<AttentionTile> forward_schedule(const AttentionArgs& args, bool both,
                                                   int at_once = 1) {
  const int64_t heads = args.tile_heads();
  const int64_t tiles = args.sets.has(KeySetKind::blocks) ? 1 : at_once;
  const int64_t tokens = tile_tokens(heads) * tiles;
  std::vector<AttentionTile> work;
  for (int64_t s = 0; s < args.varlen.sequences(); ++s) {
    const int64_t length = args.varlen.length(s), offset = args.varlen.offset(s);
    for (int64_t t = 0; t < tile_count(length, tokens); ++t) {
      const int64_t begin = offset + t * tokens, end = offset + std::min(length, (t + 1) * tokens);
      for (int64_t h = 0; h < args.shape.q_heads; h += heads) {
        const bool open = args.open(s, h / args.shape.group());
        const auto counts = count_key_tiles<kTileKeys>(args.key_pattern(s, h, begin), begin, end,
                                                       both || open, both || !open);
        work.push_back({int32_t(s), int32_t(h), int32_t(t * tiles), counts.all(), int32_t(tiles)});
      }
    }
  }
  longest_first(work);
  return work;
}

// Key tiles. Within a (sequence, kv head) they keep their order, which is the order in which dq is
// summed: a tile only ever waits for one that stands before it in the list.
inline std::vector<AttentionTile> backward_schedule(const AttentionArgs& args) {
  const int64_t heads = args.tile_heads(), tokens = tile_tokens(heads);
  const int64_t group = args.shape.group();
  std::vector<AttentionTile> work;
  for (int64_t s = 0; s < args.varlen.sequences(); ++s) {
    const int64_t offset = args.varlen.offset(s), length = args.varlen.key_length(s);
    for (int64_t kv = 0; kv < args.shape.kv_heads; ++kv) {
      int64_t bound = group * tile_count(args.varlen.length(s), tokens);
      for (int64_t k = 0; k < tile_count(length, kTileKeys); ++k) {
        int64_t visits = 0;
        for (int64_t h = kv * group; h < (kv + 1) * group; h += heads) {
          visits += count_query_tiles(args.key_set_pattern(s, h, k * kTileKeys), k * kTileKeys,
                                      (k + 1) * kTileKeys, offset, length, tokens);
        }
        bound = std::min(bound, visits);  // non-increasing, so that the sort keeps the order
        work.push_back({int32_t(s), int32_t(kv), int32_t(k), bound});
      }
    }
  }
  longest_first(work);
  return work;
}

// How many key tiles before this one visit the query tile [begin, end), which this one does too:
// the order in which dq is summed. `row`: the bits of the queries' block, where the set is
// `blocks`.
inline int64_t key_tile_rank(const KeySetPattern& pattern, const BlockBits& row, int64_t key_tile,
                             int64_t begin, int64_t end) {
  if (pattern.set == KeySetKind::blocks) {
    const int64_t each = pattern.block / kTileKeys, block = key_tile / each;
    return row.count_before(block) * each + key_tile - block * each;
  }
  const StreamingRule& rule = pattern.rule;
  if (pattern.set == KeySetKind::full || end > rule.dense_from) return key_tile;
  const int64_t sink_tiles = tile_count(rule.sink_tokens(), kTileKeys);
  const int64_t first_local = rule.local_begin(begin) / kTileKeys;
  if (key_tile < sink_tiles || first_local <= sink_tiles) return key_tile;
  return sink_tiles + key_tile - first_local;
}

}  // namespace elastron::ops
