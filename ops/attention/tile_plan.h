// Which keys a tile of queries visits, and in which order: pure integer arithmetic.
//
// Tiles are laid out per sequence, so that a packed sequence is computed exactly as it would be
// alone, and do not depend on the rule's block: where a tile is only partly visible it is masked.
#pragma once
#include <cstdint>

#include "core/host_device.h"
#include "ops/attention/streaming_rule.h"

namespace elastron::ops {

// A query tile is `tokens x group` rows: the query heads of one kv head share its keys and values.
inline constexpr int64_t kTileRows = 64;
inline constexpr int64_t kTileKeys = 64;

// Tokens of a query tile; group = q_heads / kv_heads, at most kTileRows.
ELASTRON_HD constexpr int64_t tile_tokens(int64_t group) { return kTileRows / group; }
ELASTRON_HD constexpr int64_t tile_count(int64_t length, int64_t tile) {
  return (length + tile - 1) / tile;
}

struct KeySegment {
  int64_t begin = 0, end = 0;
  bool masked = false;  // some query of the tile does not see some key of the segment
};

struct KeySegments {
  KeySegment items[4];
  int count = 0;

  ELASTRON_HD constexpr void add(int64_t begin, int64_t end, bool masked) {
    if (begin >= end) return;
    if (count > 0 && items[count - 1].end == begin && items[count - 1].masked == masked) {
      items[count - 1].end = end;
    } else {
      items[count++] = {begin, end, masked};
    }
  }
  ELASTRON_HD constexpr int64_t keys() const {
    int64_t n = 0;
    for (int i = 0; i < count; ++i) n += items[i].end - items[i].begin;
    return n;
  }
};

// Keys of the query tile [begin, end). `streaming` first, then `rest`: together they are the causal
// keys. A masked segment of `streaming` holds the keys the rule shows, one of `rest` exactly those
// it hides; a segment whose keys are split between queries stands in both.
struct QueryTilePlan {
  KeySegments streaming, rest;
};

ELASTRON_HD constexpr QueryTilePlan plan_query_tile(const StreamingRule& rule, int64_t begin,
                                                    int64_t end) {
  const auto least = [](int64_t a, int64_t b) { return a < b ? a : b; };
  const auto most = [](int64_t a, int64_t b) { return a > b ? a : b; };
  const int64_t sink = least(rule.sink_tokens(), end);
  // From `some` on, some query has the key in its window; from `all` on every one has.
  const int64_t some = most(sink, rule.local_begin(begin));
  const int64_t all = most(sink, rule.local_begin(end - 1));
  const int64_t diagonal = begin;  // from here on causality hides keys from the first queries
  QueryTilePlan plan;
  plan.streaming.add(0, least(sink, diagonal), false);
  plan.streaming.add(some, least(all, diagonal), true);
  plan.streaming.add(all, diagonal, false);
  plan.streaming.add(diagonal, end, true);
  plan.rest.add(sink, some, false);
  plan.rest.add(some, all, true);
  return plan;
}

// --- Backward: key tiles own dk and dv and visit query tiles ------------------------------------

// The first query tile that may see a key: tiles of `tokens` queries begin at position `offset`.
ELASTRON_HD constexpr int64_t first_query_tile(int64_t key, int64_t offset, int64_t tokens) {
  return key > offset ? (key - offset) / tokens : 0;
}

// Whether key tile [key_begin, key_end) has a pair visible to query tile [begin, end).
ELASTRON_HD constexpr bool tile_visited(const StreamingRule& rule, bool full, int64_t key_begin,
                                        int64_t key_end, int64_t begin, int64_t end) {
  if (end <= key_begin) return false;
  if (full || key_begin < rule.sink_tokens()) return true;
  return rule.local_begin(begin > key_begin ? begin : key_begin) < key_end;
}

// Whether every pair of the two tiles is visible.
ELASTRON_HD constexpr bool tile_fully_visible(const StreamingRule& rule, bool full,
                                              int64_t key_begin, int64_t key_end, int64_t begin,
                                              int64_t end) {
  if (key_end - 1 > begin) return false;
  return full || key_end <= rule.sink_tokens() || key_begin >= rule.local_begin(end - 1);
}

// How many key tiles before this one visit the query tile that starts at `begin` (and is visited by
// this one): the order in which dq is summed.
ELASTRON_HD constexpr int64_t tile_rank(const StreamingRule& rule, bool full, int64_t key_tile,
                                        int64_t begin) {
  if (full) return key_tile;
  const int64_t sink_tiles = tile_count(rule.sink_tokens(), kTileKeys);
  const int64_t first_local = rule.local_begin(begin) / kTileKeys;
  if (key_tile < sink_tiles || first_local <= sink_tiles) return key_tile;
  return sink_tiles + key_tile - first_local;
}

}  // namespace elastron::ops
