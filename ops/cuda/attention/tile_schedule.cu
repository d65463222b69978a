// A counting sort: costs, how many tiles of each cost there are in every chunk of the list, where
// these stand, and the tiles put there. Within a chunk one warp puts them in order.
#include <algorithm>
#include <limits>
#include <vector>

#include "ops/backend.h"
#include "ops/cuda/attention/geometry.h"
#include "ops/cuda/attention/tile_lists.h"
#include "ops/cuda/attention/tile_schedule.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kLevelBits = kListLevelBits, kLevels = kListLevels, kChunk = kListChunk;
constexpr int kThreads = 256, kScanThreads = 1024;
static_assert(kLevels % kScanThreads == 0);

struct List {
  const int32_t* starts;  // [sequences + 1] tiles of the sequences before, in one column
  int32_t columns;        // of tiles of a sequence: first heads of a tile
  int32_t count;          // of all tiles
  int32_t shift;          // of cost: what is below does not count for the order
  bool both;

  __device__ int32_t place_of_cost(int32_t cost) const {
    if (cost == 0) return kLevels - 1;
    const int32_t level = (cost - 1) >> shift;
    return level < kLevels - 2 ? kLevels - 2 - level : 0;
  }
};

// Tile `index` of the unsorted list, without its cost.
__device__ ScheduledTile tile_of(const Geometry& g, const List& list, int32_t index) {
  int32_t low = 0, high = g.sequences;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    if (int64_t(list.starts[middle]) * list.columns <= index) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const int32_t tiles = list.starts[low + 1] - list.starts[low];
  const int32_t each = list.columns / g.kv_heads;  // columns of a kv head
  int32_t at = index - list.starts[low] * list.columns;
  const int32_t kv_head = at / (tiles * each);
  at -= kv_head * tiles * each;
  const int32_t head = kv_head * g.group + at % each * (g.group / each);
  return {low, head, at / each, 0};
}

template <int kKeys>
struct QueryCost {
  __device__ int32_t operator()(const Geometry& g, const List& list, ScheduledTile at) const {
    const QueryTile t = query_tile_at(g, place_of(g, at.sequence), at.head, at.tile);
    const bool open = is_open(g, at.sequence, t.kv_head);
    if (g.closed_only && open) return 0;
    const auto counts = count_key_tiles<kKeys>(pattern_of(g, t), t.begin, t.end, list.both || open,
                                               list.both || !open);
    return int32_t(counts.all());
  }
};

template <int kKeys>
struct KeyCost {
  KeyTileQueue keys;

  __device__ int32_t operator()(const Geometry& g, const List&, ScheduledTile at) const {
    const KeyItem item = key_item_at<kKeys>(g, keys, at);
    const bool open = is_open(g, at.sequence, item.kv_head);
    if (g.closed_only && open) return 0;
    // Of a tile that is not cut, the first part is all of it.
    if (item.piece < 0 && item.part > 0) return 0;
    int32_t visits = 0;
    for (int32_t head = item.head; head < item.head + g.group; head += g.tile_heads) {
      const KeySetPattern pattern = key_set_of(g, item.place, head, item.begin);
      QueryTiles walk(pattern, item.begin, item.end, item.place.offset, item.place.length,
                      g.tokens_per_tile);
      walk.skip_to(item.from);
      for (int64_t n = walk.next(); n >= 0 && n < item.to; n = walk.next()) {
        if (pattern.set == KeySetKind::full) {
          visits += item.to - int32_t(n);  // all that follow
          break;
        }
        ++visits;
      }
    }
    return visits > 0 ? visits : 1;
  }
};

// costs [count], and levels [chunks][kLevels]: tiles of each level in the chunk.
template <class Cost>
__global__ void __launch_bounds__(kThreads)
    tile_costs_kernel(Geometry g, List list, Cost cost, int32_t* costs, int32_t* levels) {
  __shared__ int32_t found[kLevels];
  for (int i = int(threadIdx.x); i < kLevels; i += kThreads) found[i] = 0;
  __syncthreads();
  const int32_t begin = int32_t(blockIdx.x) * kChunk;
  for (int32_t i = begin + int32_t(threadIdx.x); i < begin + kChunk && i < list.count;
       i += kThreads) {
    const int32_t c = cost(g, list, tile_of(g, list, i));
    costs[i] = c;
    atomicAdd(&found[list.place_of_cost(c)], 1);
  }
  __syncthreads();
  for (int i = int(threadIdx.x); i < kLevels; i += kThreads) {
    levels[int64_t(blockIdx.x) * kLevels + i] = found[i];
  }
}

// levels: from numbers of tiles to where the first of them stands. One block.
__global__ void __launch_bounds__(kScanThreads)
    tile_places_kernel(int32_t chunks, int32_t* levels, int32_t* next) {
  constexpr int kEach = kLevels / kScanThreads;
  __shared__ int32_t of_warps[kScanThreads / kWarp];
  const int thread = int(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  if (thread == 0) *next = 0;
  int32_t totals[kEach], all = 0;
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    totals[e] = 0;
    for (int32_t c = 0; c < chunks; ++c) {
      totals[e] += levels[int64_t(c) * kLevels + thread * kEach + e];
    }
    all += totals[e];
  }
  int32_t upto = all;  // of the warp's threads, this one included
#pragma unroll
  for (int lanes = 1; lanes < kWarp; lanes *= 2) {
    const int32_t below = __shfl_sync(kAllLanes, upto, lane - lanes < 0 ? lane : lane - lanes);
    if (lane >= lanes) upto += below;
  }
  if (lane == kWarp - 1) of_warps[warp] = upto;
  __syncthreads();
  int32_t at = upto - all;
  for (int w = 0; w < warp; ++w) at += of_warps[w];
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    for (int32_t c = 0; c < chunks; ++c) {
      int32_t& level = levels[int64_t(c) * kLevels + thread * kEach + e];
      const int32_t n = level;
      level = at;
      at += n;
    }
  }
}

// One warp per chunk: equals keep their order.
__global__ void __launch_bounds__(kWarp)
    sorted_tiles_kernel(Geometry g, List list, const int32_t* costs, const int32_t* levels,
                        ScheduledTile* tiles) {
  __shared__ int32_t next[kLevels];
  const int lane = int(threadIdx.x);
  for (int i = lane; i < kLevels; i += kWarp) next[i] = levels[int64_t(blockIdx.x) * kLevels + i];
  __syncwarp();
  const int32_t begin = int32_t(blockIdx.x) * kChunk;
  for (int32_t first = begin; first < begin + kChunk && first < list.count; first += kWarp) {
    const int32_t i = first + lane;
    const bool inside = i < list.count;
    const int32_t cost = inside ? costs[i] : 0, level = list.place_of_cost(cost);
    unsigned equals = __ballot_sync(kAllLanes, inside);
#pragma unroll
    for (int bit = 0; bit < kLevelBits; ++bit) {
      const unsigned ones = __ballot_sync(kAllLanes, level >> bit & 1);
      equals &= (level >> bit & 1) != 0 ? ones : ~ones;
    }
    const int32_t before = __popc(equals & ((1u << lane) - 1));
    if (inside) {
      ScheduledTile tile = tile_of(g, list, i);
      tile.cost = cost;
      tiles[next[level] + before] = tile;
    }
    __syncwarp();
    if (inside && (equals >> lane) == 1u) next[level] += before + 1;  // the last of its equals
    __syncwarp();
  }
}

// Costs are below `limit`.
template <class Cost>
TileSchedule sorted(const Geometry& g, const std::vector<int32_t>& starts, int64_t columns,
                    bool both, int64_t limit, Cost cost, Device& device, Stream stream) {
  const ListMemory sizes(starts.back() * columns);
  const int64_t count = sizes.count, chunks = sizes.chunks;
  ELASTRON_CHECK(count <= std::numeric_limits<int32_t>::max(), "too many tiles of attention");
  const Tensor on_gpu = on_device(std::span<const int32_t>(starts), device);
  const auto ints = [&](int64_t n) { return Tensor::empty({n}, DType::i32, device); };
  Tensor memory = ints(sizes.list_numbers());
  auto* tiles = static_cast<ScheduledTile*>(memory.raw());
  const TileQueue queue{tiles, int32_t(count), reinterpret_cast<int32_t*>(tiles + count)};
  List list{.starts = static_cast<const int32_t*>(on_gpu.raw()),
            .columns = int32_t(columns),
            .count = int32_t(count),
            .shift = 0,
            .both = both};
  while (limit >> list.shift >= kLevels - 1) ++list.shift;
  const Tensor costs = ints(sizes.cost_numbers()), levels = ints(sizes.level_numbers());
  launch("tile_costs", tile_costs_kernel<Cost>, {dim3(unsigned(chunks)), dim3(kThreads)}, stream, g,
         list, cost, costs.data<int32_t>(), levels.data<int32_t>());
  launch("tile_places", tile_places_kernel, {dim3(1), dim3(kScanThreads)}, stream, int32_t(chunks),
         levels.data<int32_t>(), queue.next);
  launch("sorted_tiles", sorted_tiles_kernel, {dim3(unsigned(chunks)), dim3(kWarp)}, stream, g,
         list, costs.data<int32_t>(), levels.data<int32_t>(), tiles);
  return {queue, std::move(memory)};
}

void check_size(const AttentionArgs& args, const Geometry& g, TileSize size) {
  ELASTRON_CHECK(size.keys == 64 || size.keys == 128, "tiles of 64 or 128 keys");
  ELASTRON_CHECK(!args.sets.has(KeySetKind::blocks) ||
                     (args.choice.block > 0 && args.choice.block % size.keys == 0 &&
                      args.choice.block % g.tokens_per_tile == 0),
                 "a block of the choice holds whole tiles");
}

int64_t longest(std::span<const int32_t> bounds) {
  int64_t most = 0;
  for (size_t s = 0; s + 1 < bounds.size(); ++s) {
    most = std::max<int64_t>(most, bounds[s + 1] - bounds[s]);
  }
  return most;
}

}  // namespace

TileSchedule schedule_query_tiles(const AttentionArgs& args, const SequenceTiles& tiles,
                                  TileSize size, bool both, Pairs pairs, Device& device,
                                  Stream stream) {
  const Geometry g = geometry_of(args, tiles, pairs, size.rows);
  check_size(args, g, size);
  const auto starts = query_tile_starts(args, size);
  // Each tile of keys once, and a few in two parts; where the pair is not nested any may be.
  const int64_t key_tiles = ceil_div(longest(args.varlen.key_bounds()), size.keys);
  const int64_t limit = args.sets.nested() ? key_tiles + 4 : 2 * key_tiles;
  const auto by = [&]<int kKeys>() {
    return sorted(g, starts, query_tile_columns(args), both, limit, QueryCost<kKeys>{}, device,
                  stream);
  };
  return size.keys == 64 ? by.operator()<64>() : by.operator()<128>();
}

KeyTileSchedule schedule_key_tiles(const AttentionArgs& args, const SequenceTiles& tiles,
                                   TileSize size, bool cut, Pairs pairs, Device& device,
                                   Stream stream) {
  const Geometry g = geometry_of(args, tiles, pairs, size.rows);
  check_size(args, g, size);
  const auto [split, starts, pieces, limit] = key_tile_lists(args, size, cut);
  KeyTileQueue queue;
  queue.split = split;
  Tensor pieces_there = on_device(std::span<const int32_t>(pieces), device);
  queue.pieces = static_cast<const int32_t*>(pieces_there.raw());
  queue.all_pieces = int64_t(pieces.back()) * g.kv_heads;
  const auto by = [&]<int kKeys>() {
    return sorted(g, starts, g.kv_heads, false, limit, KeyCost<kKeys>{queue}, device, stream);
  };
  const TileSchedule list = size.keys == 64 ? by.operator()<64>() : by.operator()<128>();
  queue.queue = list.queue();
  return {queue, list.memory(), std::move(pieces_there)};
}

}  // namespace elastron::ops::cuda
