#include "ops/attention/tile_plan.h"
#include "ops/cuda/attention/geometry.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 256;

// A block has one sequence and kv head.
__global__ void __launch_bounds__(kThreads) visited_tiles_kernel(Geometry g, int64_t* visited) {
  __shared__ int64_t scratch[kThreads / kWarp];
  const auto sequence = int32_t(blockIdx.x), kv_head = int32_t(blockIdx.y);
  const Place place = place_of(g, sequence);
  const bool open = is_open(g, sequence, kv_head);
  const int32_t tokens = place.length - place.offset, columns = g.group / g.tile_heads;
  const int32_t tiles = (tokens + g.tokens_per_tile - 1) / g.tokens_per_tile * columns;
  int64_t count = 0;
  for (int32_t i = int32_t(threadIdx.x); i < tiles; i += kThreads) {
    const int32_t head = kv_head * g.group + i % columns * g.tile_heads;
    const QueryTile t = query_tile_at(g, place, head, i / columns);
    count += count_branch_tiles<kTileKeys>(pattern_of(g, t), t.begin, t.end, open);
  }
  count = block_sum<kThreads>(count, scratch);
  if (threadIdx.x == 0) visited[int64_t(sequence) * g.kv_heads + kv_head] += count;
}

}  // namespace

void count_visited_tiles(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                         Stream stream) {
  const Geometry g = geometry_of(args, tiles, Pairs::all);
  launch("visited_tiles", visited_tiles_kernel,
         LaunchShape{dim3(unsigned(g.sequences), unsigned(g.kv_heads)), dim3(kThreads)}, stream, g,
         args.visited);
}

}  // namespace elastron::ops::cuda
