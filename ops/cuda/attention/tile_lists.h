// How long the work lists of tile_schedule.h are and what memory they lie in, which follows from
// shapes alone. Plain C++: a meta device asks it in builds without CUDA too.
#pragma once
#include <algorithm>
#include <vector>

#include "core/ceil_div.h"
#include "core/tensor.h"
#include "ops/attention/args.h"
#include "ops/attention/sequence_tiles.h"
#include "ops/cuda/attention/tile_schedule.h"

namespace elastron::ops::cuda {

inline constexpr int kListLevelBits = 11, kListLevels = 1 << kListLevelBits;  // of cost
inline constexpr int kListChunk = 512;

struct ListMemory {
  int64_t count = 0, chunks = 0;  // tiles, and pieces of the list that are sorted apart

  explicit ListMemory(int64_t tiles) : count(tiles), chunks(ceil_div(tiles, kListChunk)) {}
  // The tiles, and in place of one more the number of the next one: 32-bit numbers, four to a tile.
  int64_t list_numbers() const { return (count + 1) * 4; }
  // While it is sorted.
  int64_t cost_numbers() const { return count; }
  int64_t level_numbers() const { return chunks * kListLevels; }
};

// Tiles of queries before each sequence [sequences + 1], in one column of tile_heads() heads.
inline std::vector<int32_t> query_tile_starts(const AttentionArgs& args, TileSize size) {
  return sequence_tile_starts(args.varlen.cu_seqlens, size.rows / args.tile_heads());
}
inline int64_t query_tile_columns(const AttentionArgs& args) {
  return args.shape.q_heads / args.tile_heads();
}

struct KeyTileLists {
  KeySplitRule split;
  std::vector<int32_t> starts = {0};  // items before each sequence, of a kv head
  std::vector<int32_t> pieces = {0};  // pieces before each sequence, of a kv head
  int64_t limit = 0;                  // above every tile's cost
};
inline KeyTileLists key_tile_lists(const AttentionArgs& args, TileSize size, bool cut) {
  const auto tiles = [](int64_t length, int64_t each) { return int32_t(ceil_div(length, each)); };
  const int64_t heads = args.tile_heads(), tokens = size.rows / heads;
  KeyTileLists lists;
  if (cut) {
    lists.split.tiles = std::min(tiles(args.first_tokens(), size.keys), KeySplitRule::kMostPieces);
  }
  for (int64_t s = 0; s < args.varlen.sequences(); ++s) {
    const int32_t key_tiles = tiles(args.varlen.key_length(s), size.keys);
    const int32_t query_tiles = tiles(args.varlen.length(s), tokens);
    const KeySplit split = lists.split.of(key_tiles, query_tiles);
    lists.starts.push_back(lists.starts.back() + split.items(key_tiles));
    lists.pieces.push_back(lists.pieces.back() + split.tiles * split.parts);
    lists.limit = std::max<int64_t>(lists.limit, query_tiles * (args.shape.group() / heads) + 1);
  }
  return lists;
}

}  // namespace elastron::ops::cuda
