// The order in which attention kernels take tiles: a queue on the device, longest first.
#pragma once
#include <cstdint>

namespace elastron::ops::cuda {

struct alignas(16) ScheduledTile {
  int32_t sequence;
  int32_t head;  // the first query head of the tile
  int32_t tile;  // of the sequence
  int32_t cost;  // tiles visited; 0: there is nothing to do, here and in what follows
};

struct TileQueue {
  const ScheduledTile* tiles = nullptr;  // [count], on the device
  int32_t count = 0;
  int32_t* next = nullptr;  // the first that nobody has taken, 0 to begin with
};

}  // namespace elastron::ops::cuda
