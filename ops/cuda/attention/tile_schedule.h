// Work lists of the attention kernels, built on the GPU, longest first: heads of one layer differ
// in cost by an order of magnitude, so whoever is free takes the longest tile that is left
// (docs/method.md, Costs).
//
// A list is sorted by cost in steps of 1/2048 of the most that a tile can cost (exactly up to 128 K
// keys); among equals tiles stand by sequence, kv head, tile and query head, so that those that
// read the same keys come one after the other. The order is the same on every run. The host knows
// how many tiles there are, and learns nothing of the gates.
#pragma once
#include "core/device.h"
#include "core/host_device.h"
#include "core/tensor.h"
#include "ops/cuda/attention/routed_attention.h"

namespace elastron::ops::cuda {

// 16 bytes: one load.
struct alignas(16) ScheduledTile {
  int32_t sequence;
  int32_t head;  // the first query head of the tile
  int32_t tile;  // of the sequence
  int32_t cost;  // tiles visited; 0: there is nothing to do, here and in what follows
};

// What a kernel takes its tiles from (take_tile() of geometry.h). `next` is 0 before the
// launch.
struct TileQueue {
  const ScheduledTile* tiles = nullptr;
  int32_t count = 0;
  int32_t* next = nullptr;
};

// A queue and the memory that it lies in, for one launch on the stream that it was built on.
class TileSchedule {
 public:
  TileSchedule(TileQueue queue, Tensor memory) : queue_(queue), memory_(std::move(memory)) {}
  const TileQueue& queue() const { return queue_; }
  const Tensor& memory() const { return memory_; }

 private:
  TileQueue queue_;
  Tensor memory_;
};

// Rows of a query tile, and keys of a key tile: 64 or 128. In modes with blocks a block holds whole
// tiles of both kinds.
struct TileSize {
  int32_t rows, keys;
};

// Every query tile of args.tile_heads() query heads and rows / tile_heads tokens; its cost is how
// many key tiles it visits, for `both` branches or the selected one. Tiles that `pairs` leaves out
// cost nothing.
TileSchedule schedule_query_tiles(const AttentionArgs& args, const SequenceTiles& tiles,
                                  TileSize size, bool both, Pairs pairs, Device& device,
                                  Stream stream);

// --- Key tiles, for the backward pass ------------------------------------------------------------

// Where a branch reads only some keys, the first key tiles of a sequence (sink, first block) are
// seen by all queries and the others by a window of them. Such a tile can cost more than a worker's
// fair share of the launch, when a rank has few kv heads: it is cut into parts, each with a range
// of the query tiles, which are summed in order afterwards. In a list the parts stand in place of
// the tile: items 0 to tiles * parts of a sequence, then its other tiles whole.
struct KeyPart {
  int32_t tile, part;
};
struct KeySplit {
  int32_t tiles = 0, parts = 1;  // of this sequence

  ELASTRON_HD constexpr int32_t items(int32_t key_tiles) const {
    return key_tiles + tiles * (parts - 1);
  }
  ELASTRON_HD constexpr KeyPart at(int32_t item) const {
    if (item < tiles * parts) return {item / parts, item % parts};
    return {item - tiles * (parts - 1), 0};
  }
  // Query tiles of a part.
  ELASTRON_HD constexpr int32_t share(int32_t query_tiles) const {
    return (query_tiles + parts - 1) / parts;
  }
};
struct KeySplitRule {
  static constexpr int32_t kPartTiles = 256, kMostParts = 64, kMostPieces = 128;

  int32_t tiles = 0;  // the first of a sequence

  ELASTRON_HD constexpr KeySplit of(int32_t key_tiles, int32_t query_tiles) const {
    const int32_t cut = tiles < key_tiles ? tiles : key_tiles;
    if (cut == 0) return {};
    int32_t parts = (query_tiles + kPartTiles - 1) / kPartTiles;
    if (parts > kMostParts) parts = kMostParts;
    if (parts * cut > kMostPieces) parts = kMostPieces / cut;
    return parts > 1 ? KeySplit{cut, parts} : KeySplit{};
  }
};

// A list of key tiles (ScheduledTile::tile is an item as KeySplit numbers them, head the first
// query head of the kv head), and where the parts of cut tiles leave their sums: the piece of
// (sequence, kv head, item) is number pieces[sequence] * kv_heads + kv_head * tiles * parts + item.
struct KeyTileQueue {
  TileQueue queue;
  KeySplitRule split;
  const int32_t* pieces = nullptr;  // [sequences + 1], of one kv head
  int64_t all_pieces = 0;           // of all kv heads
};
class KeyTileSchedule {
 public:
  KeyTileSchedule(KeyTileQueue queue, Tensor memory, Tensor pieces)
      : queue_(queue), memory_(std::move(memory)), pieces_(std::move(pieces)) {}
  const KeyTileQueue& queue() const { return queue_; }

 private:
  KeyTileQueue queue_;
  Tensor memory_, pieces_;
};

// Every key tile of the branch that each kv head's gate selects; its cost is how many query tiles
// of size.rows see it, at least 1. `cut`: into parts.
KeyTileSchedule schedule_key_tiles(const AttentionArgs& args, const SequenceTiles& tiles,
                                   TileSize size, bool cut, Pairs pairs, Device& device,
                                   Stream stream);

}  // namespace elastron::ops::cuda
