// Which tiles of keys a tile of queries visits, in which order and with which mask, for every pair
// of key sets; and the other way round, for the backward pass. Integer arithmetic, the same on the
// CPU and the GPU (docs/method.md, Key sets).
//
// Tiles of keys are aligned: [n kKeys, (n + 1) kKeys), cut off at the last query's position. Tiles
// of queries are laid out per sequence, so that a packed sequence is computed exactly as alone.
// Positions are relative to the sequence.
#pragma once
#include <cstdint>

#include "core/host_device.h"
#include "ops/attention/block_bits.h"
#include "ops/attention/key_set.h"
#include "ops/attention/streaming_rule.h"

namespace elastron::ops {

// Keys of both branches come first: the running softmax over them is where both begin
// (docs/method.md, One pass).
enum class Part : uint8_t {
  common,
  retrieval,  // of the retrieval branch only
  sparse,     // of the sparse branch only: none where the pair is nested
  end,
};

// Which pairs of a tile belong to its part. `shown` and `hidden` are by the streaming rule.
enum class KeyMask : uint8_t { none, causal, shown, hidden };

struct KeyTile {
  int32_t begin, end;
  Part part;
  KeyMask mask;
};

// The pair of sets as one tile of queries sees it.
struct KeyPattern {
  KeySetPair sets;
  StreamingRule rule;  // within() the sequence
  BlockBits chosen;    // of the block that the queries are in; read where a set is `blocks`
  int32_t block = 1;   // tokens of a block
};

// On which side of the streaming rule, and of the chosen blocks, the keys of a part lie.
enum class Side : uint8_t { any, in, out };
struct PartSides {
  Side streaming = Side::any, blocks = Side::any;

  ELASTRON_HD static constexpr PartSides of(KeySetKind set, Side side = Side::in) {
    return {set == KeySetKind::streaming ? side : Side::any,
            set == KeySetKind::blocks ? side : Side::any};
  }
  // Keys that lie on these sides and on those.
  ELASTRON_HD constexpr PartSides and_also(const PartSides& other) const {
    return {streaming == Side::any ? other.streaming : streaming,
            blocks == Side::any ? other.blocks : blocks};
  }
  // Keys of `set` that are not in `without`.
  ELASTRON_HD static constexpr PartSides difference(KeySetKind set, KeySetKind without) {
    return of(without, Side::out).and_also(of(set));
  }
};

// The queries [begin, end) as the streaming rule sees them. In 32 bits, as all of a walk: positions
// of a sequence fit, and a thread that walks on a GPU has few registers.
struct QuerySpan {
  int32_t begin, end;
  int32_t sink;
  // From `some` on, some query has the key in its window; from `all` on every one has.
  int32_t some, all;

  ELASTRON_HD constexpr QuerySpan(const StreamingRule& rule, int64_t first, int64_t past)
      : begin(int32_t(first)),
        end(int32_t(past)),
        sink(int32_t(least(rule.sink_tokens(), past))),
        some(int32_t(rule.local_begin(past - 1 >= rule.dense_from ? past - 1 : first))),
        all(first >= rule.dense_from
                ? 0
                : int32_t(rule.local_begin(least(past, rule.dense_from) - 1))) {}

  // These ask about the pairs with keys [from, to), to at most `end`.
  ELASTRON_HD constexpr bool any_shown(int64_t from, int64_t to) const {
    return from < sink || to > some;
  }
  ELASTRON_HD constexpr bool any_hidden(int64_t from, int64_t to) const {
    return (from > sink ? from : sink) < least(to, all);
  }
  ELASTRON_HD constexpr bool all_hidden(int64_t from, int64_t to) const {
    return from >= sink && to <= some;
  }
  ELASTRON_HD constexpr bool all_causal(int64_t to) const { return to - 1 <= begin; }

  ELASTRON_HD static constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
};

// The key tiles of the queries [begin, end), which lie in one block where a set is of blocks.
// Blocks are multiples of kKeys there.
template <int kKeys>
class KeyTiles {
 public:
  // The branches that are wanted. Where the pair is not nested and one is wanted alone, all its
  // keys are `common`. A branch alone that reads no blocks needs none chosen: their bits may be
  // zeros.
  ELASTRON_HD KeyTiles(const KeyPattern& pattern, int64_t begin, int64_t end, bool retrieval,
                       bool sparse)
      : chosen_(pattern.chosen),
        block_(pattern.block),
        span_(pattern.rule, begin, end),
        plan_(plan_of(pattern.sets, retrieval, sparse)) {}

  ELASTRON_HD KeyTile next() {
    while (plan_ != 0) {
      skip();
      if (at_ >= span_.end) {
        leave();
        continue;
      }
      const int32_t from = at_, to = from + kKeys < span_.end ? from + kKeys : span_.end;
      at_ += kKeys;
      KeyTile tile{from, to, part_, KeyMask::none};
      if (holds(from, to, tile.mask)) return tile;
    }
    return {0, 0, Part::end, KeyMask::none};
  }

 private:
  ELASTRON_HD static int32_t floor(int32_t key) { return key / kKeys * kKeys; }

  // The sides of the parts that are wanted, in a byte each, the one that is walked over lowest: a
  // thread that walks on a GPU has few registers.
  static constexpr uint32_t kWanted = 0x80;
  ELASTRON_HD static constexpr uint32_t wanted(const PartSides& sides) {
    return kWanted | uint32_t(sides.streaming) | uint32_t(sides.blocks) << 2;
  }
  ELASTRON_HD static constexpr uint32_t plan_of(const KeySetPair& sets, bool retrieval,
                                                bool sparse) {
    if (!sets.nested() && retrieval != sparse) return wanted(PartSides::of(sets.of(retrieval)));
    uint32_t plan = wanted(PartSides::of(sets.sparse).and_also(PartSides::of(sets.retrieval)));
    if (retrieval) plan |= wanted(PartSides::difference(sets.retrieval, sets.sparse)) << 8;
    if (sparse && !sets.nested()) {
      plan |= wanted(PartSides::difference(sets.sparse, sets.retrieval)) << 16;
    }
    return plan;
  }
  ELASTRON_HD Side streaming() const { return Side(plan_ & 3); }
  ELASTRON_HD Side blocks() const { return Side(plan_ >> 2 & 3); }

  ELASTRON_HD void leave() {
    at_ = block_end_ = 0;
    do {
      plan_ >>= 8;
      part_ = Part(int(part_) + 1);
    } while (plan_ != 0 && (plan_ & kWanted) == 0);
  }

  // Over tiles of which the part holds nothing.
  ELASTRON_HD void skip() {
    if (streaming() == Side::in) {
      if (at_ >= span_.sink && at_ + kKeys <= span_.some) at_ = floor(span_.some);
    } else if (streaming() == Side::out) {
      if (at_ < floor(span_.sink)) at_ = floor(span_.sink);
      if (at_ >= span_.all) at_ = span_.end;
    }
    if (blocks() == Side::any || at_ < block_end_) return;
    const int32_t block = at_ / block_, past = (span_.end + block_ - 1) / block_;
    const auto found = int32_t(chosen_.next(block, past, blocks() == Side::in));
    if (found != block) at_ = found * block_;
    block_end_ = (found + 1) * block_;
  }

  ELASTRON_HD bool holds(int32_t from, int32_t to, KeyMask& mask) const {
    if (streaming() == Side::any) {
      mask = span_.all_causal(to) ? KeyMask::none : KeyMask::causal;
      return true;
    }
    if (streaming() == Side::out) {
      mask = span_.all_hidden(from, to) && span_.all_causal(to) ? KeyMask::none : KeyMask::hidden;
      return span_.any_hidden(from, to);
    }
    mask = span_.all_causal(to) && !span_.any_hidden(from, to) ? KeyMask::none : KeyMask::shown;
    return span_.any_shown(from, to);
  }

  BlockBits chosen_;
  int32_t block_;
  QuerySpan span_;
  uint32_t plan_;
  Part part_ = Part::common;
  int32_t at_ = 0, block_end_ = 0;  // up to there the block that was found last reaches
};

struct KeyTileCounts {
  int64_t common = 0, retrieval = 0, sparse = 0;

  ELASTRON_HD constexpr int64_t all() const { return common + retrieval + sparse; }
};

// How many tiles of each part KeyTiles gives. Takes a walk for both branches of a pair that is not
// nested only.
template <int kKeys>
ELASTRON_HD KeyTileCounts count_key_tiles(const KeyPattern& pattern, int64_t begin, int64_t end,
                                          bool retrieval, bool sparse) {
  const auto tiles = [](int64_t keys) { return (keys + kKeys - 1) / kKeys; };
  const bool nested = pattern.sets.nested();
  if (!nested && retrieval == sparse) {
    KeyTileCounts counts;
    KeyTiles<kKeys> walk(pattern, begin, end, retrieval, sparse);
    for (KeyTile tile = walk.next(); tile.part != Part::end; tile = walk.next()) {
      (tile.part == Part::common      ? counts.common
       : tile.part == Part::retrieval ? counts.retrieval
                                      : counts.sparse) += 1;
    }
    return counts;
  }
  // The set whose tiles come first, and whether the rest of all keys follows.
  const KeySetKind first = nested ? pattern.sets.sparse : pattern.sets.of(retrieval);
  const bool rest = nested && retrieval;
  if (first == KeySetKind::blocks) {
    const int64_t diagonal = begin / pattern.block, each = pattern.block / kKeys;
    const int64_t before = pattern.chosen.count_before(diagonal);
    return {.common = before * each + tiles(end) - diagonal * each,
            .retrieval = rest ? (diagonal - before) * each : 0};
  }
  const QuerySpan span(pattern.rule, begin, end);
  const int64_t sink = tiles(span.sink), local = span.some / kKeys;
  return {.common = sink + tiles(end) - (local > sink ? local : sink),
          .retrieval = rest && span.all > span.sink ? tiles(span.all) - span.sink / kKeys : 0};
}

// Different tiles that a branch visits, by its gate: full attention beside a streaming set goes
// twice through those that a window cuts.
template <int kKeys>
ELASTRON_HD int64_t count_branch_tiles(const KeyPattern& pattern, int64_t begin, int64_t end,
                                       bool open) {
  if (pattern.sets.of(open) == KeySetKind::full) return (end + kKeys - 1) / kKeys;
  return count_key_tiles<kKeys>(pattern, begin, end, open, !open).all();
}

// --- Backward: key tiles own dk and dv and visit query tiles -------------------------------------

// One selected branch, seen from a tile of keys.
struct KeySetPattern {
  KeySetKind set = KeySetKind::full;
  StreamingRule rule;  // within() the sequence
  BlockBits column;    // of the block that the keys are in; read where the set is `blocks`
  int32_t block = 1;
};

// The query tiles that see a key of [key_begin, key_end), in order. Tiles of `tokens` queries begin
// at position `offset` of a sequence of `length` keys; where the set is `blocks` they lie in one
// block each, and offset is the beginning of one.
class QueryTiles {
 public:
  ELASTRON_HD QueryTiles(const KeySetPattern& pattern, int64_t key_begin, int64_t key_end,
                         int64_t offset, int64_t length, int64_t tokens)
      : column_(pattern.column),
        count_(tiles(int32_t(length - offset), int32_t(tokens))),
        at_(key_begin > offset ? int32_t(key_begin - offset) / int32_t(tokens) : 0) {
    if (pattern.set == KeySetKind::blocks) {
      tiles_of_block_ = pattern.block / int32_t(tokens);
      blocks_ = tiles(int32_t(length - offset), pattern.block);
    } else if (pattern.set == KeySetKind::streaming && key_begin >= pattern.rule.sink_tokens()) {
      // In the window, and past it only the dense tail.
      const auto window =
          int32_t(QuerySpan::least(pattern.rule.local_end(key_end - 1), length) - offset);
      const int64_t dense = pattern.rule.dense_from - offset;
      window_ = window > 0 ? tiles(window, int32_t(tokens)) : 0;
      dense_ = dense >= length - offset ? count_ : dense > 0 ? int32_t(dense) / int32_t(tokens) : 0;
    }
  }

  // Tiles before this one are passed over.
  ELASTRON_HD void skip_to(int64_t tile) { at_ = tile > at_ ? int32_t(tile) : at_; }

  // The number of the next tile, or -1.
  ELASTRON_HD int64_t next() {
    if (at_ >= window_ && at_ < dense_) at_ = dense_;
    if (tiles_of_block_ != 0 && at_ >= block_end_) {
      const int32_t block = at_ / tiles_of_block_;
      const auto found = int32_t(column_.next(block, blocks_, true));
      if (found != block) at_ = found * tiles_of_block_;
      block_end_ = (found + 1) * tiles_of_block_;
    }
    return at_ < count_ ? at_++ : -1;
  }

 private:
  ELASTRON_HD static int32_t tiles(int32_t positions, int32_t each) {
    return (positions + each - 1) / each;
  }

  BlockBits column_;
  int32_t count_, at_;
  // Tiles from `window_` to `dense_` are passed over.
  int32_t window_ = 0, dense_ = 0;
  int32_t tiles_of_block_ = 0, blocks_ = 0;  // 0: no blocks are chosen
  int32_t block_end_ = 0;                    // up to there the block that was found last reaches
};

// How many tiles QueryTiles gives. Takes a walk where they are not all that follow.
ELASTRON_HD inline int64_t count_query_tiles(const KeySetPattern& pattern, int64_t key_begin,
                                             int64_t key_end, int64_t offset, int64_t length,
                                             int64_t tokens) {
  if (pattern.set == KeySetKind::full ||
      (pattern.set == KeySetKind::streaming && key_begin < pattern.rule.sink_tokens())) {
    const int64_t first = key_begin > offset ? (key_begin - offset) / tokens : 0;
    return (length - offset + tokens - 1) / tokens - first;
  }
  QueryTiles walk(pattern, key_begin, key_end, offset, length, tokens);
  int64_t count = 0;
  while (walk.next() >= 0) ++count;
  return count;
}

// Whether every pair of a key tile and the queries [begin, end) that visit it is visible.
ELASTRON_HD constexpr bool tile_fully_visible(const StreamingRule& rule, KeySetKind set,
                                              int64_t key_begin, int64_t key_end, int64_t begin,
                                              int64_t end) {
  const QuerySpan span(rule, begin, end);
  if (!span.all_causal(key_end)) return false;
  return set != KeySetKind::streaming || !span.any_hidden(key_begin, key_end);
}

// Whether a query sees a key of a tile that it visits.
ELASTRON_HD constexpr bool pair_visible(const StreamingRule& rule, KeySetKind set, int64_t query,
                                        int64_t key) {
  return set == KeySetKind::streaming ? rule.visible(query, key) : key <= query;
}

}  // namespace elastron::ops
