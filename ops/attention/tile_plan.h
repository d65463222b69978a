// Sizes of the tiles of attention. Tiles are laid out per sequence, so that a packed sequence is
// computed exactly as it would be alone, and do not depend on the rule's block: where a tile is
// only partly visible it is masked (ops/attention/key_tiles.h).
#pragma once
#include <cstdint>

#include "core/host_device.h"

namespace elastron::ops {

// A query tile is `tokens x group` rows: the query heads of one kv head share its keys and values.
inline constexpr int64_t kTileRows = 64;
inline constexpr int64_t kTileKeys = 64;

// Tokens of a query tile; group = q_heads / kv_heads, at most kTileRows.
ELASTRON_HD constexpr int64_t tile_tokens(int64_t group) { return kTileRows / group; }

// Query heads that stand side by side in a tile: those that share keys and mask. A tile lies in one
// block where blocks are chosen, so that their number is a power of two there. `shared_by`: query
// heads that read one mask of blocks; 0 where no blocks are chosen.
constexpr int64_t heads_of_tile(int64_t group, int64_t shared_by) {
  return shared_by == 0 ? group : shared_by & -shared_by;
}

ELASTRON_HD constexpr int64_t tile_count(int64_t length, int64_t tile) {
  return (length + tile - 1) / tile;
}

}  // namespace elastron::ops
