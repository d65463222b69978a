// Tiles of every sequence of a packed batch, counted over the batch: what a grid of tiles is looked
// up in.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace elastron::ops {

// starts[s]: tiles of the sequences before s, of `tokens` tokens each (the last of a sequence may
// hold fewer); [sequences + 1], the last is the number of all tiles. bounds [sequences + 1]: where
// the sequences begin.
inline std::vector<int32_t> sequence_tile_starts(std::span<const int32_t> bounds, int64_t tokens) {
  std::vector<int32_t> starts = {0};
  for (size_t s = 0; s + 1 < bounds.size(); ++s) {
    starts.push_back(starts.back() + int32_t((bounds[s + 1] - bounds[s] + tokens - 1) / tokens));
  }
  return starts;
}

}  // namespace elastron::ops
