// The gradients of routed_attention_backward.cu on tensor cores. As there: query tiles own dq, key
// tiles dk and dv, scores are computed twice, and nothing depends on the order of blocks. Score
// gradients are rounded to bfloat16 before they are multiplied, as are probabilities.
#include <limits>

#include "ops/cuda/attention_mma.h"
#include "ops/cuda/routed_attention_mma.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

// Scores are worked on 32 columns at a time: more would not fit in registers beside the sums.
constexpr int kColumns = 32, kBlocks = kColumns / 8, kSteps = kColumns / 16;

struct Inputs {
  const uint8_t* gate;
  const bf16 *q, *d_out;
  int64_t q_stride, d_stride;
  KeysAndValues keys;
  const float *lse, *row_dots;
};

// A block owns a query tile: dq = scale times the sum over its keys of ds k.
template <int kC>
__global__ void __launch_bounds__(kMmaThreads) dq_mma_kernel(Geometry g, Inputs in, bf16* dq) {
  auto& memory = *dynamic_shared_memory<QueryBlockMemory<kC>>();
  const QueryTile t = query_tile(g, in.gate, g.tiles.all_query_tiles - 1 - int32_t(blockIdx.x),
                                 int32_t(blockIdx.y));
  if (g.streaming_only && t.full) return;
  // The rows pass through the second stage, which is free until the first tile is worked on.
  async_rows<kC>(g, t, in.q, in.q_stride, memory.stages[1].keys);
  async_rows<kC>(g, t, in.d_out, in.d_stride, memory.stages[1].values);
  if (threadIdx.x == 0) memory.plan = plan_query_tile(g.rule, t.begin, t.end);
  __syncthreads();
  KeyTiles tiles(memory.plan, t.full);
  KeyTile tile = tiles.next();
  load_stage(g, t.place, in.keys, tile.begin, tile.end, t.kv_head, memory.stages[0]);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  const int warp_row = int(threadIdx.x) / kWarp * kWarpRows;
  RowFragments<kC> queries, d_rows;
  queries.load(memory.stages[1].keys, warp_row);
  d_rows.load(memory.stages[1].values, warp_row);

  const int32_t sink = sink_of(g, t.place);
  const Sight sights[2] = {{g, t, first_row()}, {g, t, first_row() + 8}};
  float lse[2] = {0, 0}, dots[2] = {0, 0};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first_row() + 8 * half;
    if (row >= (t.end - t.begin) * g.group) continue;
    lse[half] = in.lse[item_of(g, t, row)] * kLog2E;
    dots[half] = in.row_dots[item_of(g, t, row)];
  }
  float sums[2 * kC][4];
  set_zero(sums);
  for (int turn = 0;; turn ^= 1) {
    const KeyStage<kC>& stage = memory.stages[turn];
    cp_async_wait<0>();
    __syncthreads();  // all of this tile is there, and the last one has been read
    const KeyTile next = tiles.next();
    if (next.part != Part::end) {
      load_stage(g, t.place, in.keys, next.begin, next.end, t.kv_head, memory.stages[turn ^ 1]);
    }
    cp_async_commit();

#pragma unroll 1
    for (int first = 0; first < tile.end - tile.begin; first += kColumns) {
      float s[kBlocks][4], ds[kBlocks][4];
      multiply_by_rows<kC>(queries, stage.keys, first, s);
      multiply_by_rows<kC>(d_rows, stage.values, first, ds);
#pragma unroll
      for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int32_t key = tile.begin + first + n * 8 + int(threadIdx.x) % 4 * 2 + i % 2;
          const bool seen = !tile.masked || sights[i / 2].sees(tile, sink, key);
          const float p = fast_exp2(s[n][i] * g.scale_log2 - lse[i / 2]);
          ds[n][i] = seen ? p * (ds[n][i] - dots[i / 2]) : 0.0f;
        }
      }
      uint32_t fragments[kSteps][4];
      to_fragments(ds, fragments);
      add_product<kC>(fragments, stage.keys, first, sums);
    }
    if (next.part == Part::end) break;
    tile = next;
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first_row() + 8 * half;
    if (row >= (t.end - t.begin) * g.group) continue;
    write_row(sums, half, g.scale_log2 * kLn2, g.head_dim, dq + item_of(g, t, row) * g.head_dim);
  }
}

// Of a query tile: q, dO, lse and row dots. Rows past the tile's end are zeros, and so is what they
// add to dk and dv.
template <int kC>
struct RowStage {
  bf16 queries[kTileElements<kC>], d_rows[kTileElements<kC>];
  float lse[kRows], dots[kRows];
};
template <int kC>
struct KeyBlockMemory {
  KeyStage<kC> owned;
  RowStage<kC> stages[2];
};

template <int kC>
__device__ __forceinline__ void load_rows(const Geometry& g, const QueryTile& t, const Inputs& in,
                                          RowStage<kC>& stage) {
  async_rows<kC>(g, t, in.q, in.q_stride, stage.queries);
  async_rows<kC>(g, t, in.d_out, in.d_stride, stage.d_rows);
  for (int row = int(threadIdx.x); row < kRows; row += kMmaThreads) {
    const bool inside = row < (t.end - t.begin) * g.group;
    const int64_t at = inside ? item_of(g, t, row) : 0;
    cp_async_4(&stage.lse[row], in.lse + at, inside);
    cp_async_4(&stage.dots[row], in.row_dots + at, inside);
  }
}

// A block owns a key tile: dv = sum of p dO, dk = scale times the sum of ds q, over the query tiles
// that see it, in order. Scores stand transposed, keys by rows: as they come out of one product
// they go into the next.
template <int kC>
__global__ void __launch_bounds__(kMmaThreads)
    dkv_mma_kernel(Geometry g, Inputs in, bf16* dk, bf16* dv) {
  auto& memory = *dynamic_shared_memory<KeyBlockMemory<kC>>();
  // The first keys of a sequence are seen by most queries: they start first.
  const Place place = place_of(g, g.tiles.key_tiles, int32_t(blockIdx.x));
  const int32_t kv_head = int32_t(blockIdx.y);
  const bool full = is_full(g, in.gate, place.sequence, kv_head);
  if (g.streaming_only && full) return;
  const int32_t key_begin = place.tile * kMmaKeys;
  const int32_t key_end = key_begin + kMmaKeys < place.length ? key_begin + kMmaKeys : place.length;
  // A key is seen from itself to here, by all that follow if it is in the sink.
  const int32_t sink = full ? place.length : sink_of(g, place);
  const auto seen_until = [&](int32_t key) {
    const int64_t end = key < sink ? place.length : g.rule.local_end(key);
    return end < place.length ? int32_t(end) : place.length;
  };
  const int32_t most_tokens = key_begin < sink ? place.length : seen_until(key_end - 1);

  const auto tile_at = [&](int32_t n) {
    Place at = place;
    at.tile = n;
    return query_tile_at(g, at, kv_head, full);
  };
  auto n = int32_t(first_query_tile(key_begin, place.offset, g.tokens_per_tile));
  // None where no query of the sequence comes within the window of a prompt's key.
  const int32_t count = most_tokens > place.offset
                            ? int32_t(tile_count(most_tokens - place.offset, g.tokens_per_tile))
                            : 0;
  load_stage(g, place, in.keys, key_begin, key_end, kv_head, memory.owned);
  if (n < count) load_rows(g, tile_at(n), in, memory.stages[0]);
  cp_async_commit();

  const int key_row = first_row(), warp_row = int(threadIdx.x) / kWarp * kWarpRows;
  const RowsInTile<kC> keys{memory.owned.keys, warp_row}, values{memory.owned.values, warp_row};
  const int32_t until[2] = {seen_until(key_begin + key_row), seen_until(key_begin + key_row + 8)};
  float dk_sums[2 * kC][4], dv_sums[2 * kC][4];
  set_zero(dk_sums);
  set_zero(dv_sums);
  for (int turn = 0; n < count; ++n, turn ^= 1) {
    const QueryTile t = tile_at(n);
    const bool all =
        tile_fully_visible(g.rule, full, key_begin, key_begin + kMmaKeys, t.begin, t.end);
    const int rows = (t.end - t.begin) * g.group;
    const RowStage<kC>& stage = memory.stages[turn];
    cp_async_wait<0>();
    __syncthreads();  // all of this tile is there, and the last one has been read
    if (n + 1 < count) load_rows(g, tile_at(n + 1), in, memory.stages[turn ^ 1]);
    cp_async_commit();
#pragma unroll 1
    for (int first = 0; first < rows; first += kColumns) {
      float p[kBlocks][4], ds[kBlocks][4];
      multiply_by_rows<kC>(keys, stage.queries, first, p);
      multiply_by_rows<kC>(values, stage.d_rows, first, ds);
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = first + b * 8 + int(threadIdx.x) % 4 * 2 + i % 2;
          bool seen = true;
          if (!all) {
            const int32_t query = t.begin + row / g.group;
            seen = query >= key_begin + key_row + 8 * (i / 2) && query < until[i / 2];
          }
          const float x = fast_exp2(p[b][i] * g.scale_log2 - stage.lse[row] * kLog2E);
          p[b][i] = seen ? x : 0.0f;
          ds[b][i] = p[b][i] * (ds[b][i] - stage.dots[row]);
        }
      }
      uint32_t fragments[kSteps][4];
      to_fragments(p, fragments);
      add_product<kC>(fragments, stage.d_rows, first, dv_sums);
      to_fragments(ds, fragments);
      add_product<kC>(fragments, stage.queries, first, dk_sums);
    }
  }
  cp_async_wait<0>();  // nothing is under way when the block ends, tiles or none
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int32_t key = key_begin + key_row + 8 * half;
    if (key >= key_end) continue;
    const int64_t at = (int64_t(place.first_key + key) * g.kv_heads + kv_head) * g.head_dim;
    write_row(dk_sums, half, g.scale_log2 * kLn2, g.head_dim, dk + at);
    write_row(dv_sums, half, 1.0f, g.head_dim, dv + at);
  }
}

}  // namespace

void mma_attention_gradients(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                             Pairs pairs, Stream stream) {
  const Geometry g = geometry_of(args, tiles, pairs);
  const auto data = [](const HeadsView& x) { return static_cast<const bf16*>(x.data); };
  const Inputs in{.gate = args.gate,
                  .q = data(args.q),
                  .d_out = data(args.d_out),
                  .q_stride = args.q.token_stride,
                  .d_stride = args.d_out.token_stride,
                  .keys = {data(args.k), data(args.v), args.k.token_stride, args.v.token_stride},
                  .lse = static_cast<const float*>(args.lse),
                  .row_dots = static_cast<const float*>(args.row_dots)};
  with_columns(args.shape.head_dim, [&]<int kC>() {
    const LaunchShape queries{dim3(unsigned(tiles.all_query_tiles), unsigned(g.kv_heads)),
                              dim3(kMmaThreads), sizeof(QueryBlockMemory<kC>)};
    launch("attention_dq_mma", dq_mma_kernel<kC>, queries, stream, g, in,
           static_cast<bf16*>(args.dq));
    const LaunchShape keys{dim3(unsigned(tiles.all_key_tiles), unsigned(g.kv_heads)),
                           dim3(kMmaThreads), sizeof(KeyBlockMemory<kC>)};
    launch("attention_dkv_mma", dkv_mma_kernel<kC>, keys, stream, g, in,
           static_cast<bf16*>(args.dk), static_cast<bf16*>(args.dv));
  });
}

}  // namespace elastron::ops::cuda
