// Work lists of the attention kernels, built on the GPU, longest first: heads of one layer differ
// in cost by an order of magnitude, so whoever is free takes the longest tile that is left
// (spec 3.4).
//
// A list is sorted by cost in steps of 1/2048 of the most that a tile can cost (exactly up to 128 K
// keys); among equals tiles stand by sequence, kv head, tile and query head, so that those that
// read the same keys come one after the other. The order is the same on every run. The host knows
// how many tiles there are, and learns nothing of the gates.
#pragma once
#include "core/device.h"
#include "core/tensor.h"
#include "ops/cuda/routed_attention.h"

namespace elastron::ops::cuda {

// 16 bytes: one load.
struct alignas(16) ScheduledTile {
  int32_t sequence;
  int32_t head;  // the first query head of the tile
  int32_t tile;  // of the sequence
  int32_t cost;  // tiles visited; 0: there is nothing to do, here and in what follows
};

// What a kernel takes its tiles from (take_tile() of attention_geometry.h). `next` is 0 before the
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

}  // namespace elastron::ops::cuda
