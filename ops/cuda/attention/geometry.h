// The problem as an attention kernel is told of it, and as it works it out for one tile. Device
// code, and the host's way to fill it in.
#pragma once
#include "core/cuda/launch.h"
#include "ops/attention/key_tiles.h"
#include "ops/cuda/attention/routed_attention.h"
#include "ops/cuda/attention/tile_schedule.h"
#include "ops/cuda/primitives.h"

namespace elastron::ops::cuda {

struct Geometry {
  KeySetPair sets;
  StreamingRule rule;  // not yet within() a sequence
  BlockChoiceView choice;
  int32_t q_heads, kv_heads, head_dim, group;
  int32_t tile_heads, tokens_per_tile;  // of a query tile; tile_heads divides group
  int32_t sequences;
  float scale_log2;     // softmax scale times log2(e)
  const uint8_t* gate;  // [sequences, kv_heads]; null: all are closed
  SequenceTiles tiles;
  bool closed_only;  // tiles of other pairs are not worked on
};

// Log-sum-exps are natural; the kernels count in powers of two.
inline constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

// `rows` of a query tile.
inline Geometry geometry_of(const AttentionArgs& args, const SequenceTiles& tiles, Pairs pairs,
                            int64_t rows = kTileRows) {
  return {.sets = args.sets,
          .rule = args.rule,
          .choice = args.choice,
          .q_heads = int32_t(args.shape.q_heads),
          .kv_heads = int32_t(args.shape.kv_heads),
          .head_dim = int32_t(args.shape.head_dim),
          .group = int32_t(args.shape.group()),
          .tile_heads = int32_t(args.tile_heads()),
          .tokens_per_tile = int32_t(rows / args.tile_heads()),
          .sequences = int32_t(args.varlen.sequences()),
          .scale_log2 = float(args.scale) * kLog2E,
          .gate = args.gate,
          .tiles = tiles,
          .closed_only = pairs == Pairs::closed};
}

// Keys of a sequence are its positions 0 to length; its queries are the positions from `offset` on.
// first_token and first_key are where position 0 stands, or would stand, in the batch: add the
// position. whole: positions of the sequence that this may be a part of.
struct Place {
  int32_t sequence, first_token, first_key, length, offset, whole;
};
__device__ __forceinline__ Place place_of(const Geometry& g, int32_t sequence) {
  const int32_t first = g.tiles.cu_seqlens[sequence];
  const int32_t tokens = g.tiles.cu_seqlens[sequence + 1] - first;
  const int32_t first_key = g.tiles.cu_keys[sequence];
  const int32_t length = g.tiles.cu_keys[sequence + 1] - first_key;
  const int32_t offset = length - tokens;
  const int32_t whole = g.tiles.whole_lengths != nullptr ? g.tiles.whole_lengths[sequence] : length;
  return {sequence, first - offset, first_key, length, offset, whole};
}
__device__ __forceinline__ StreamingRule rule_of(const Geometry& g, const Place& place) {
  return g.rule.within(place.whole);
}

// The sequence s with starts[s] <= index < starts[s + 1]; empty ones are passed over.
__device__ __forceinline__ int32_t sequence_of(const int32_t* starts, int32_t sequences,
                                               int64_t index) {
  int32_t low = 0, high = sequences;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    if (starts[middle] <= index) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

__device__ __forceinline__ bool is_open(const Geometry& g, int32_t sequence, int32_t kv_head) {
  return g.gate != nullptr && g.gate[int64_t(sequence) * g.kv_heads + kv_head] != 0;
}

// Rows of a query tile: row r is position begin + r / tile_heads, query head head + r % tile_heads.
struct QueryTile {
  Place place;
  int32_t begin, end;  // positions
  int32_t head, kv_head;
};
__device__ __forceinline__ QueryTile query_tile_at(const Geometry& g, const Place& place,
                                                   int32_t head, int32_t tile) {
  const int32_t begin = place.offset + tile * g.tokens_per_tile;
  const int32_t end =
      begin + g.tokens_per_tile < place.length ? begin + g.tokens_per_tile : place.length;
  return {place, begin, end, head, head / g.group};
}

// Where a row stands in [tokens, q_heads].
__device__ __forceinline__ int64_t item_of(const Geometry& g, const QueryTile& t, int row) {
  const int64_t token = t.place.first_token + t.begin + row / g.tile_heads;
  return token * g.q_heads + t.head + row % g.tile_heads;
}
__device__ __forceinline__ int rows_of(const Geometry& g, const QueryTile& t) {
  return (t.end - t.begin) * g.tile_heads;
}

// The keys that one query sees of the key tiles that its tile visits, with the division done once.
struct Sight {
  int32_t query, sink, local_begin;

  __device__ Sight(const Geometry& g, const QueryTile& t, int row)
      : query(t.begin + row / g.tile_heads) {
    const StreamingRule rule = rule_of(g, t.place);
    sink = int32_t(QuerySpan::least(rule.sink_tokens(), t.place.length));
    local_begin = int32_t(rule.local_begin(query));
  }
  __device__ __forceinline__ bool sees(KeyMask mask, int32_t key) const {
    if (key > query) return false;
    if (mask == KeyMask::none || mask == KeyMask::causal) return true;
    return (key < sink || key >= local_begin) == (mask == KeyMask::shown);
  }
};
// The last tile of keys may be cut off: what is past its end is no query's.
__device__ __forceinline__ bool is_masked(const KeyTile& tile, int32_t keys) {
  return tile.mask != KeyMask::none || tile.end - tile.begin < keys;
}

// --- The two branches of a forward pass ----------------------------------------------------------

// The outputs of a tile; null where one is not wanted.
template <class T>
struct BranchOutputs {
  T *retrieval, *sparse;
  float *lse_retrieval, *lse_sparse;
};
template <class T>
struct GateOutputs {
  T *selected, *other;
  float *lse, *lse_other;

  __device__ __forceinline__ BranchOutputs<T> of(bool open) const {
    return open ? BranchOutputs<T>{selected, other, lse, lse_other}
                : BranchOutputs<T>{other, selected, lse_other, lse};
  }
};
template <class T>
GateOutputs<T> gate_outputs(const AttentionForwardArgs& args) {
  return {static_cast<T*>(args.selected), static_cast<T*>(args.other),
          static_cast<float*>(args.lse), static_cast<float*>(args.lse_other)};
}

// The work that is due between two tiles of keys, in this order: the running softmax is put aside,
// O of the retrieval branch written, what was put aside taken up again, O of the sparse branch
// written.
struct PartChange {
  bool save : 1, retrieval : 1, restore : 1, sparse : 1;

  template <class T>
  __device__ __forceinline__ PartChange(const KeySetPair& sets, const BranchOutputs<T>& out,
                                        Part from, Part to) {
    const bool nested = sets.nested();  // sparse keys are the common ones
    const bool apart = !nested && out.retrieval != nullptr && out.sparse != nullptr;
    save = apart && from == Part::common && to == Part::retrieval;
    retrieval = out.retrieval != nullptr && from <= Part::retrieval && to > Part::retrieval;
    restore = apart && from == Part::retrieval && to != Part::retrieval;
    sparse = out.sparse != nullptr &&
             (nested ? from == Part::common && to != Part::common : to == Part::end);
  }
  PartChange() = default;
  __device__ __forceinline__ bool any() const { return save || retrieval || restore || sparse; }
};

// The pair of sets as a query tile sees it.
__device__ __forceinline__ KeyPattern pattern_of(const Geometry& g, const QueryTile& t) {
  KeyPattern pattern{.sets = g.sets, .rule = rule_of(g, t.place)};
  if (g.sets.has(KeySetKind::blocks)) {
    pattern.block = g.choice.block;
    pattern.chosen = g.choice.row(t.head, t.place.sequence, t.place.length,
                                  (t.begin - t.place.offset) / g.choice.block);
  }
  return pattern;
}

// The set of a query head's selected branch as a key tile sees it.
__device__ __forceinline__ KeySetPattern key_set_of(const Geometry& g, const Place& place,
                                                    int32_t head, int32_t key_begin) {
  const KeySetKind set = g.sets.of(is_open(g, place.sequence, head / g.group));
  KeySetPattern pattern{.set = set, .rule = rule_of(g, place)};
  if (set == KeySetKind::blocks) {
    pattern.block = g.choice.block;
    pattern.column = g.choice.column(head, place.sequence, place.length - place.offset,
                                     key_begin / g.choice.block);
  }
  return pattern;
}
template <int kKeys>
__device__ __forceinline__ int32_t key_tiles_of(const Place& place) {
  return (place.length + kKeys - 1) / kKeys;
}
__device__ __forceinline__ int32_t query_tiles_of(const Geometry& g, const Place& place) {
  return (place.length - place.offset + g.tokens_per_tile - 1) / g.tokens_per_tile;
}

// Whether a query sees a key of a tile that its tile visits: from itself to `until`, and from
// `dense_from` on.
struct KeySight {
  int32_t key, until;

  __device__ KeySight(const Geometry& g, const Place& place, KeySetKind set, int32_t of) : key(of) {
    const bool window = set == KeySetKind::streaming && key >= g.rule.sink_tokens();
    until = window ? int32_t(QuerySpan::least(g.rule.local_end(key), place.length)) : place.length;
  }
  __device__ __forceinline__ bool seen(int32_t query, int32_t dense_from) const {
    return query >= key && (query < until || query >= dense_from);
  }
};

// An item of a list of key tiles: keys [begin, end), seen from the query tiles [from, to).
struct KeyItem {
  Place place;
  int32_t head, kv_head;  // the first query head of the kv head
  int32_t begin, end;
  int32_t from, to;
  int32_t part;   // of its tile
  int32_t piece;  // where the sums of a part go; -1: the tile is whole
};
template <int kKeys>
__device__ __forceinline__ KeyItem key_item_at(const Geometry& g, const KeyTileQueue& queue,
                                               const ScheduledTile& at) {
  const Place place = place_of(g, at.sequence);
  const int32_t kv_head = at.head / g.group, query_tiles = query_tiles_of(g, place);
  const KeySplit split = queue.split.of(key_tiles_of<kKeys>(place), query_tiles);
  const KeyPart part = split.at(at.tile);
  const int32_t begin = part.tile * kKeys;
  KeyItem item{.place = place,
               .head = at.head,
               .kv_head = kv_head,
               .begin = begin,
               .end = begin + kKeys < place.length ? begin + kKeys : place.length,
               .from = 0,
               .to = query_tiles,
               .part = part.part,
               .piece = -1};
  // A branch that reads all keys has none that are seen by more queries than the others.
  const bool cut = at.tile < split.tiles * split.parts &&
                   g.sets.of(is_open(g, at.sequence, kv_head)) != KeySetKind::full;
  if (!cut) return item;
  const int32_t share = split.share(query_tiles);
  item.from = part.part * share;
  item.to = item.from + share < query_tiles ? item.from + share : query_tiles;
  item.piece =
      queue.pieces[at.sequence] * g.kv_heads + kv_head * split.tiles * split.parts + at.tile;
  return item;
}

// The query tiles that see a key item, those of one query head after those of another.
// Item: KeyItem, or a reference to one that stays where it is.
struct SeenFrom {
  int32_t head, tile;  // tile -1: there is none
};
template <class Item = KeyItem>
class QueryWalk {
 public:
  __device__ QueryWalk(const Geometry& g, const KeyItem& item)
      : item_(item), head_(item.head), walk_(of_head(g)) {}

  __device__ SeenFrom next(const Geometry& g) {
    while (true) {
      const auto tile = int32_t(walk_.next());
      if (tile >= 0 && tile < item_.to) return {head_, tile};
      if (head_ + g.tile_heads >= item_.head + g.group) return {head_, -1};
      head_ += g.tile_heads;
      walk_ = of_head(g);
    }
  }

 private:
  __device__ QueryTiles of_head(const Geometry& g) const {
    QueryTiles walk(key_set_of(g, item_.place, head_, item_.begin), item_.begin, item_.end,
                    item_.place.offset, item_.place.length, g.tokens_per_tile);
    walk.skip_to(item_.from);
    return walk;
  }

  Item item_;
  int32_t head_;
  QueryTiles walk_;
};

// The queue's next tile, the same for the whole block; false when there is none. `ticket` is the
// block's, in shared memory.
__device__ __forceinline__ bool take_tile(const TileQueue& queue, int32_t* ticket,
                                          ScheduledTile& tile) {
  __syncthreads();  // the last ticket has been read, and whatever the last tile left behind
  if (threadIdx.x == 0) *ticket = atomicAdd(queue.next, 1);
  __syncthreads();
  const int32_t i = *ticket;
  if (i >= queue.count) return false;
  tile = queue.tiles[i];
  return tile.cost > 0;  // whatever follows costs nothing either
}

}  // namespace elastron::ops::cuda
