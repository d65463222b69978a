// The gradients of backward.cu on tensor cores. As there: query tiles own dq, key
// tiles dk and dv, scores are computed twice, and nothing depends on the order of blocks. Score
// gradients are rounded to bfloat16 before they are multiplied, as are probabilities.
#include <limits>

#include "ops/cuda/attention/key_parts.h"
#include "ops/cuda/attention/mma_kernels.h"
#include "ops/cuda/attention/mma_tiles.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

// Scores are worked on 32 columns at a time: more would not fit in registers beside the sums.
constexpr int kColumns = 32, kBlocks = kColumns / 8, kSteps = kColumns / 16;

struct Inputs {
  const bf16 *q, *d_out;
  int64_t q_stride, d_stride;
  KeysAndValues keys;
  const float *lse, *row_dots;
};

// A block has a query tile: dq = scale times the sum over its keys of ds k.
template <int kC>
__device__ __forceinline__ void dq_tile(const Geometry& g, const QueryTile& t, bool open,
                                        const Inputs& in, QueryBlockMemory<kC>& memory, bf16* dq) {
  // The rows pass through the second stage, which is free until the first tile is worked on.
  async_rows<kC>(g, t, in.q, in.q_stride, memory.stages[1].keys);
  async_rows<kC>(g, t, in.d_out, in.d_stride, memory.stages[1].values);
  KeyTile tile = memory.begin(g, t, open, !open);
  load_stage(g, t.place, in.keys, tile.begin, tile.end, t.kv_head, memory.stages[0]);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  const int warp_row = int(threadIdx.x) / kWarp * kWarpRows;
  RowFragments<kC> queries, d_rows;
  queries.load(memory.stages[1].keys, warp_row);
  d_rows.load(memory.stages[1].values, warp_row);

  const Sight sights[2] = {{g, t, first_row()}, {g, t, first_row() + 8}};
  float lse[2] = {0, 0}, dots[2] = {0, 0};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first_row() + 8 * half;
    if (row >= rows_of(g, t)) continue;
    lse[half] = in.lse[item_of(g, t, row)] * kLog2E;
    dots[half] = in.row_dots[item_of(g, t, row)];
  }
  float sums[2 * kC][4];
  set_zero(sums);
  for (int turn = 0;; turn ^= 1) {
    const KeyStage<kC>& stage = memory.stages[turn];
    cp_async_wait<0>();
    __syncthreads();  // all of this tile is there, and the last one has been read
    const KeyTile next = memory.after(turn);
    if (next.part != Part::end) {
      load_stage(g, t.place, in.keys, next.begin, next.end, t.kv_head, memory.stages[turn ^ 1]);
    }
    cp_async_commit();

    const bool masked = is_masked(tile, kMmaKeys);
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
          const bool seen = !masked || sights[i / 2].sees(tile.mask, key);
          const float p = fast_exp2(s[n][i] * g.scale_log2 - lse[i / 2]);
          ds[n][i] = where_seen(seen, p * (ds[n][i] - dots[i / 2]));
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
    if (row >= rows_of(g, t)) continue;
    write_row(sums, half, g.scale_log2 * kLn2, g.head_dim, dq + item_of(g, t, row) * g.head_dim);
  }
}

template <int kC>
__global__ void __launch_bounds__(kMmaThreads)
    dq_mma_kernel(Geometry g, TileQueue queue, Inputs in, bf16* dq) {
  auto& memory = *dynamic_shared_memory<QueryBlockMemory<kC>>();
  ScheduledTile at;
  while (take_tile(queue, &memory.ticket, at)) {
    const QueryTile t = query_tile_at(g, place_of(g, at.sequence), at.head, at.tile);
    dq_tile<kC>(g, t, is_open(g, at.sequence, t.kv_head), in, memory, dq);
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
  QueryWalk<> walk;
  SeenFrom found[2];  // as QueryBlockMemory's
  int32_t ticket;

  __device__ __forceinline__ SeenFrom begin(const Geometry& g, const KeyItem& item) {
    if (threadIdx.x == 0) {
      walk = QueryWalk<>(g, item);
      for (SeenFrom& tile : found) tile = walk.next(g);
    }
    __syncthreads();
    return found[0];
  }
  __device__ __forceinline__ SeenFrom after(const Geometry& g, int turn) {
    const SeenFrom next = found[turn ^ 1];
    if (threadIdx.x == 0) found[turn] = walk.next(g);
    return next;
  }
};

template <int kC>
__device__ __forceinline__ void load_rows(const Geometry& g, const QueryTile& t, const Inputs& in,
                                          RowStage<kC>& stage) {
  async_rows<kC>(g, t, in.q, in.q_stride, stage.queries);
  async_rows<kC>(g, t, in.d_out, in.d_stride, stage.d_rows);
  for (int row = int(threadIdx.x); row < kRows; row += kMmaThreads) {
    const bool inside = row < rows_of(g, t);
    const int64_t at = inside ? item_of(g, t, row) : 0;
    cp_async_4(&stage.lse[row], in.lse + at, inside);
    cp_async_4(&stage.dots[row], in.row_dots + at, inside);
  }
}

template <int kC>
using Piece = KeyPiece<kMmaKeys, kC * 16>;

// A block has a key tile, or a part of its queries: dv = sum of p dO, dk = scale times the sum of
// ds q, over the query tiles that see it, in order. Scores stand transposed, keys by rows: as they
// come out of one product they go into the next.
template <int kC>
__device__ __forceinline__ void dkv_tile(const Geometry& g, const KeyItem& item, const Inputs& in,
                                         KeyBlockMemory<kC>& memory, bf16* dk, bf16* dv,
                                         Piece<kC>* pieces) {
  const Place& place = item.place;
  const KeySetKind set = g.sets.of(is_open(g, place.sequence, item.kv_head));
  const StreamingRule rule = rule_of(g, place);
  const auto dense_from = int32_t(QuerySpan::least(rule.dense_from, place.length));
  const auto tile_at = [&](SeenFrom from) { return query_tile_at(g, place, from.head, from.tile); };
  SeenFrom from = memory.begin(g, item);
  load_stage(g, place, in.keys, item.begin, item.end, item.kv_head, memory.owned);
  if (from.tile >= 0) load_rows(g, tile_at(from), in, memory.stages[0]);
  cp_async_commit();

  const int key_row = first_row(), warp_row = int(threadIdx.x) / kWarp * kWarpRows;
  const RowsInTile<kC> keys{memory.owned.keys, warp_row}, values{memory.owned.values, warp_row};
  const KeySight sights[2] = {{g, place, set, item.begin + key_row},
                              {g, place, set, item.begin + key_row + 8}};
  float dk_sums[2 * kC][4], dv_sums[2 * kC][4];
  set_zero(dk_sums);
  set_zero(dv_sums);
  for (int turn = 0; from.tile >= 0; turn ^= 1) {
    const QueryTile t = tile_at(from);
    const bool all =
        tile_fully_visible(rule, set, item.begin, item.begin + kMmaKeys, t.begin, t.end);
    const RowStage<kC>& stage = memory.stages[turn];
    cp_async_wait<0>();
    __syncthreads();  // all of this tile is there, and the last one has been read
    from = memory.after(g, turn);
    if (from.tile >= 0) load_rows(g, tile_at(from), in, memory.stages[turn ^ 1]);
    cp_async_commit();
#pragma unroll 1
    for (int first = 0; first < rows_of(g, t); first += kColumns) {
      float p[kBlocks][4], ds[kBlocks][4];
      multiply_by_rows<kC>(keys, stage.queries, first, p);
      multiply_by_rows<kC>(values, stage.d_rows, first, ds);
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = first + b * 8 + int(threadIdx.x) % 4 * 2 + i % 2;
          const bool seen = all || sights[i / 2].seen(t.begin + row / g.tile_heads, dense_from);
          const float x = fast_exp2(p[b][i] * g.scale_log2 - stage.lse[row] * kLog2E);
          p[b][i] = where_seen(seen, x);
          ds[b][i] = where_seen(seen, x * (ds[b][i] - stage.dots[row]));
        }
      }
      uint32_t fragments[kSteps][4];
      to_fragments(p, fragments);
      add_product<kC>(fragments, stage.d_rows, first, dv_sums);
      to_fragments(ds, fragments);
      add_product<kC>(fragments, stage.queries, first, dk_sums);
    }
  }
  cp_async_wait<0>();  // nothing is under way when the tile is left, with queries or without
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = key_row + 8 * half;
    if (item.piece >= 0) {
      keep_row(dk_sums, half, pieces[item.piece].dk[row]);
      keep_row(dv_sums, half, pieces[item.piece].dv[row]);
    } else if (item.begin + row < item.end) {
      const int64_t at =
          (int64_t(place.first_key + item.begin + row) * g.kv_heads + item.kv_head) * g.head_dim;
      write_row(dk_sums, half, g.scale_log2 * kLn2, g.head_dim, dk + at);
      write_row(dv_sums, half, 1.0f, g.head_dim, dv + at);
    }
  }
}

template <int kC>
__global__ void __launch_bounds__(kMmaThreads)
    dkv_mma_kernel(Geometry g, KeyTileQueue queue, Inputs in, bf16* dk, bf16* dv,
                   Piece<kC>* pieces) {
  auto& memory = *dynamic_shared_memory<KeyBlockMemory<kC>>();
  ScheduledTile at;
  while (take_tile(queue.queue, &memory.ticket, at)) {
    dkv_tile<kC>(g, key_item_at<kMmaKeys>(g, queue, at), in, memory, dk, dv, pieces);
  }
}

}  // namespace

void mma_attention_gradients(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                             Pairs pairs, Device& device, Stream stream) {
  const Geometry g = geometry_of(args, tiles, pairs);
  const auto data = [](const HeadsView& x) { return static_cast<const bf16*>(x.data); };
  const Inputs in{.q = data(args.q),
                  .d_out = data(args.d_out),
                  .q_stride = args.q.token_stride,
                  .d_stride = args.d_out.token_stride,
                  .keys = {data(args.k), data(args.v), args.k.token_stride, args.v.token_stride},
                  .lse = static_cast<const float*>(args.lse),
                  .row_dots = static_cast<const float*>(args.row_dots)};
  auto *dq = static_cast<bf16*>(args.dq), *dk = static_cast<bf16*>(args.dk),
       *dv = static_cast<bf16*>(args.dv);
  constexpr TileSize kSize{kRows, kMmaKeys};
  const auto queries = schedule_query_tiles(args, tiles, kSize, false, pairs, device, stream);
  const auto keys = schedule_key_tiles(args, tiles, kSize, true, pairs, device, stream);
  with_columns(args.shape.head_dim, [&]<int kC>() {
    const auto over = [&](const char* name, auto kernel, size_t bytes, const TileQueue& queue) {
      return persistent(name, kernel, kMmaThreads, bytes, queue.count);
    };
    launch(
        "attention_dq_mma", dq_mma_kernel<kC>,
        over("attention_dq_mma", dq_mma_kernel<kC>, sizeof(QueryBlockMemory<kC>), queries.queue()),
        stream, g, queries.queue(), in, dq);
    with_key_pieces<kMmaKeys, kC * 16>(
        g, keys.queue(), dk, dv, device, stream, [&](Piece<kC>* pieces) {
          launch("attention_dkv_mma", dkv_mma_kernel<kC>,
                 over("attention_dkv_mma", dkv_mma_kernel<kC>, sizeof(KeyBlockMemory<kC>),
                      keys.queue().queue),
                 stream, g, keys.queue(), in, dk, dv, pieces);
        });
  });
}

}  // namespace elastron::ops::cuda
