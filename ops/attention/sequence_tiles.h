// Tiles of every sequence of a packed batch, counted over the batch: what a grid of tiles is looked
// up in.
#pragma once
#include <cstdint>
#include <vector>

#include "ops/varlen.h"

namespace elastron::ops {

// starts[s]: tiles of the sequences before s, of `tokens` tokens each (the last of a sequence may
// hold fewer); [sequences + 1], the last is the number of all tiles.
inline std::vector<int32_t> sequence_tile_starts(const Varlen& varlen, int64_t tokens) {
  std::vector<int32_t> starts = {0};
  for (int64_t s = 0; s < varlen.sequences(); ++s) {
    starts.push_back(starts.back() + int32_t((varlen.length(s) + tokens - 1) / tokens));
  }
  return starts;
}

}  // namespace elastron::ops
