// The selected branch only; of the other one a row dot with dO (spec 3.2). Query tiles own dq, key
// tiles dk and dv: scores are computed twice, and nothing depends on the order of blocks.
#include <cmath>
#include <limits>

#include "ops/cuda/attention_tiles.h"
#include "ops/cuda/routed_attention_mma.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

// One warp per (token, query head): <dO, selected>, and the gap between the branches, signed so
// that it is <dO, O_FA - O_SA>.
template <class T>
__global__ void row_dots_kernel(Geometry g, const uint8_t* gate, const T* d_out, int64_t d_stride,
                                const T* selected, const T* other, int64_t tokens, float* row_dots,
                                float* gaps) {
  const int64_t item = (int64_t(blockIdx.x) * kAttentionThreads + threadIdx.x) / kWarp;
  const int lane = int(threadIdx.x) % kWarp;
  if (item >= tokens * g.q_heads) return;
  const int64_t token = item / g.q_heads, head = item % g.q_heads;
  const T* d = d_out + token * d_stride + head * g.head_dim;
  const T* o = selected + item * g.head_dim;
  float dot = 0, gap = 0;
  for (int i = lane; i < g.head_dim; i += kWarp) {
    const float x = float(d[i]), y = float(o[i]);
    dot += x * y;
    if (gaps != nullptr) gap += x * (y - float(other[item * g.head_dim + i]));
  }
  dot = warp_sum(dot);
  gap = warp_sum(gap);
  if (lane != 0) return;
  if (row_dots != nullptr) row_dots[item] = dot;
  if (gaps == nullptr) return;
  const int32_t s = sequence_of(g.tiles.cu_seqlens, g.sequences, token);
  const bool full = is_full(g, gate, s, int32_t(head / g.group));
  gaps[item] = full ? gap : -gap;
}

// One block per (sequence, kv head), in a fixed order.
__global__ void gate_gradient_kernel(Geometry g, const float* gaps, float* d_gate) {
  __shared__ float scratch[kAttentionThreads / kWarp];
  const int32_t s = int32_t(blockIdx.x), h = int32_t(blockIdx.y);
  const int64_t begin = g.tiles.cu_seqlens[s], end = g.tiles.cu_seqlens[s + 1];
  float sum = 0;
  for (int64_t i = threadIdx.x; i < (end - begin) * g.group; i += kAttentionThreads) {
    sum += gaps[(begin + i / g.group) * g.q_heads + int64_t(h) * g.group + i % g.group];
  }
  sum = block_sum<kAttentionThreads>(sum, scratch);
  if (threadIdx.x == 0) d_gate[int64_t(s) * g.kv_heads + h] = sum;
}

// Probabilities and score gradients of one pair of tiles, into shared memory:
//   p = exp2(s - lse), ds = p (<dO, v> - row dot).
template <class Seen>
__device__ __forceinline__ void score_gradients(const Geometry& g, const QueryTile& t,
                                                const float* queries, const float* d_rows,
                                                const float* keys, const float* values, int pitch,
                                                int width, const float* lse, const float* row_dots,
                                                const Seen& seen, float* p_tile, float* ds_tile) {
  const int ty = int(threadIdx.x) / kSide, tx = int(threadIdx.x) % kSide;
  float s[kRowsEach][kKeysEach], dp[kRowsEach][kKeysEach];
  dot_tile(queries, pitch, keys, pitch, width, s);
  dot_tile(d_rows, pitch, values, pitch, width, dp);
#pragma unroll
  for (int a = 0; a < kRowsEach; ++a) {
    const int row = ty * kRowsEach + a;
    const bool inside = row < (t.end - t.begin) * g.group;
    const int64_t query = t.begin + row / g.group;
#pragma unroll
    for (int b = 0; b < kKeysEach; ++b) {
      const int key = tx * kKeysEach + b;
      float p = 0;
      if (inside && seen(query, key)) p = exp2f(s[a][b] * g.scale_log2 - lse[row]);
      if (p_tile != nullptr) p_tile[row * kScorePitch + key] = p;
      ds_tile[row * kScorePitch + key] = p == 0 ? 0.0f : p * (dp[a][b] - row_dots[row]);
    }
  }
}

// lse in log2 units and row dots of a tile's rows.
__device__ __forceinline__ void load_statistics(const Geometry& g, const QueryTile& t,
                                                const float* lse, const float* row_dots,
                                                float* tile_lse, float* tile_dots) {
  for (int row = int(threadIdx.x); row < kRows; row += kAttentionThreads) {
    if (row >= (t.end - t.begin) * g.group) continue;
    const int64_t at = item_of(g, t, row);
    tile_lse[row] = lse[at] * kLog2E;
    tile_dots[row] = row_dots[at];
  }
}

// A block owns a query tile: dq = scale times the sum over its keys of ds k.
template <int kC, class T>
__global__ void __launch_bounds__(kAttentionThreads)
    dq_kernel(Geometry g, const uint8_t* gate, const T* q, const T* k, const T* v, const T* d_out,
              int64_t q_stride, int64_t k_stride, int64_t v_stride, int64_t d_stride,
              const float* lse, const float* row_dots, T* dq) {
  constexpr int kWidth = kC * kSide, kPitch = kWidth + 1;
  float* queries = dynamic_shared_memory<float>();
  float* d_rows = queries + kRows * kPitch;
  float* keys = d_rows + kRows * kPitch;
  float* values = keys + kKeys * kPitch;
  float* ds = values + kKeys * kPitch;  // [rows][score pitch]
  float* tile_lse = ds + kRows * kScorePitch;
  float* tile_dots = tile_lse + kRows;
  const int ty = int(threadIdx.x) / kSide, tx = int(threadIdx.x) % kSide;
  const QueryTile t =
      query_tile(g, gate, g.tiles.all_query_tiles - 1 - int32_t(blockIdx.x), int32_t(blockIdx.y));
  if (g.streaming_only && t.full) return;
  load_rows(g, t, q, q_stride, kWidth, kPitch, queries);
  load_rows(g, t, d_out, d_stride, kWidth, kPitch, d_rows);
  load_statistics(g, t, lse, row_dots, tile_lse, tile_dots);
  float sums[kRowsEach][kC];
#pragma unroll
  for (int a = 0; a < kRowsEach; ++a) {
#pragma unroll
    for (int j = 0; j < kC; ++j) sums[a][j] = 0;
  }
  const QueryTilePlan plan = plan_query_tile(g.rule, t.begin, t.end);
  for (int part = 0; part < (t.full ? 2 : 1); ++part) {
    const KeySegments& segments = part == 0 ? plan.streaming : plan.rest;
    for (int n = 0; n < segments.count; ++n) {
      const KeySegment segment = segments.items[n];
      for (int64_t begin = segment.begin; begin < segment.end; begin += kKeys) {
        const int64_t end = begin + kKeys < segment.end ? begin + kKeys : segment.end;
        __syncthreads();
        load_keys(g, k, k_stride, t.place.first_key, begin, end, t.kv_head, kWidth, kPitch, keys);
        load_keys(g, v, v_stride, t.place.first_key, begin, end, t.kv_head, kWidth, kPitch, values);
        __syncthreads();
        score_gradients(
            g, t, queries, d_rows, keys, values, kPitch, kWidth, tile_lse, tile_dots,
            [&](int64_t query, int key_in_tile) {
              const int64_t key = begin + key_in_tile;
              if (key >= end || key > query) return false;
              if (!segment.masked) return true;
              const bool shown = g.rule.visible(query, key);
              return part == 0 ? shown : !shown;
            },
            static_cast<float*>(nullptr), ds);
        __syncwarp();
        for (int key = 0; key < kKeys; ++key) {
          float d[kRowsEach];
#pragma unroll
          for (int a = 0; a < kRowsEach; ++a) d[a] = ds[(ty * kRowsEach + a) * kScorePitch + key];
#pragma unroll
          for (int j = 0; j < kC; ++j) {
            const float x = keys[key * kPitch + tx + j * kSide];
#pragma unroll
            for (int a = 0; a < kRowsEach; ++a) sums[a][j] += d[a] * x;
          }
        }
      }
    }
  }
  const float scale = g.scale_log2 * kLn2;
#pragma unroll
  for (int a = 0; a < kRowsEach; ++a) {
    const int row = ty * kRowsEach + a;
    if (row >= (t.end - t.begin) * g.group) continue;
    const int64_t at = item_of(g, t, row);
#pragma unroll
    for (int j = 0; j < kC; ++j) {
      const int column = tx + j * kSide;
      if (column < g.head_dim) detail::put(dq[at * g.head_dim + column], sums[a][j] * scale);
    }
  }
}

constexpr int kBlocksPerTile = int(kTileKeys) / kKeys;

// A block owns kKeys keys of a key tile: dv = sum of p dO, dk = scale times the sum of ds q, over
// the query tiles that see it, in order.
template <int kC, class T>
__global__ void __launch_bounds__(kAttentionThreads)
    dkv_kernel(Geometry g, const uint8_t* gate, const T* q, const T* k, const T* v, const T* d_out,
               int64_t q_stride, int64_t k_stride, int64_t v_stride, int64_t d_stride,
               const float* lse, const float* row_dots, T* dk, T* dv) {
  constexpr int kWidth = kC * kSide, kPitch = kWidth + 1;
  float* queries = dynamic_shared_memory<float>();
  float* d_rows = queries + kRows * kPitch;
  float* keys = d_rows + kRows * kPitch;
  float* values = keys + kKeys * kPitch;
  float* p_tile = values + kKeys * kPitch;
  float* ds = p_tile + kRows * kScorePitch;
  float* tile_lse = ds + kRows * kScorePitch;
  float* tile_dots = tile_lse + kRows;
  const int ty = int(threadIdx.x) / kSide, tx = int(threadIdx.x) % kSide;
  // The first keys of a sequence are seen by most queries: they start first.
  const Place place = place_of(g, g.tiles.key_tiles, int32_t(blockIdx.x) / kBlocksPerTile);
  const int32_t kv_head = int32_t(blockIdx.y);
  const bool full = is_full(g, gate, place.sequence, kv_head);
  if (g.streaming_only && full) return;
  const int64_t key_begin =
      int64_t(place.tile) * kTileKeys + int32_t(blockIdx.x) % kBlocksPerTile * kKeys;
  if (key_begin >= place.length) return;
  const int64_t key_end = key_begin + kKeys < place.length ? key_begin + kKeys : place.length;
  load_keys(g, k, k_stride, place.first_key, key_begin, key_end, kv_head, kWidth, kPitch, keys);
  load_keys(g, v, v_stride, place.first_key, key_begin, key_end, kv_head, kWidth, kPitch, values);
  float dk_sums[kKeysEach][kC], dv_sums[kKeysEach][kC];
#pragma unroll
  for (int b = 0; b < kKeysEach; ++b) {
#pragma unroll
    for (int j = 0; j < kC; ++j) dk_sums[b][j] = dv_sums[b][j] = 0;
  }
  const int32_t first = g.tiles.query_tiles[place.sequence];
  const int32_t count = g.tiles.query_tiles[place.sequence + 1] - first;
  for (auto n = int32_t(first_query_tile(key_begin, place.offset, g.tokens_per_tile)); n < count;
       ++n) {
    const QueryTile t = query_tile(g, gate, first + n, kv_head);
    if (!tile_visited(g.rule, full, key_begin, key_end, t.begin, t.end)) continue;
    const bool all = tile_fully_visible(g.rule, full, key_begin, key_end, t.begin, t.end);
    __syncthreads();
    load_rows(g, t, q, q_stride, kWidth, kPitch, queries);
    load_rows(g, t, d_out, d_stride, kWidth, kPitch, d_rows);
    load_statistics(g, t, lse, row_dots, tile_lse, tile_dots);
    __syncthreads();
    score_gradients(
        g, t, queries, d_rows, keys, values, kPitch, kWidth, tile_lse, tile_dots,
        [&](int64_t query, int key_in_tile) {
          const int64_t key = key_begin + key_in_tile;
          if (key >= key_end) return false;
          return all || (full ? key <= query : g.rule.visible(query, key));
        },
        p_tile, ds);
    __syncthreads();  // all rows' scores are there: a thread now reads those of other warps
    for (int row = 0; row < kRows; ++row) {
      float p[kKeysEach], d[kKeysEach];
#pragma unroll
      for (int b = 0; b < kKeysEach; ++b) {
        p[b] = p_tile[row * kScorePitch + ty * kKeysEach + b];
        d[b] = ds[row * kScorePitch + ty * kKeysEach + b];
      }
#pragma unroll
      for (int j = 0; j < kC; ++j) {
        const float x = queries[row * kPitch + tx + j * kSide];
        const float y = d_rows[row * kPitch + tx + j * kSide];
#pragma unroll
        for (int b = 0; b < kKeysEach; ++b) {
          dk_sums[b][j] += d[b] * x;
          dv_sums[b][j] += p[b] * y;
        }
      }
    }
  }
  const float scale = g.scale_log2 * kLn2;
#pragma unroll
  for (int b = 0; b < kKeysEach; ++b) {
    const int64_t key = key_begin + ty * kKeysEach + b;
    if (key >= key_end) continue;
    const int64_t at = (place.first_key + key) * g.kv_heads + kv_head;
#pragma unroll
    for (int j = 0; j < kC; ++j) {
      const int column = tx + j * kSide;
      if (column >= g.head_dim) continue;
      detail::put(dk[at * g.head_dim + column], dk_sums[b][j] * scale);
      detail::put(dv[at * g.head_dim + column], dv_sums[b][j]);
    }
  }
}

}  // namespace

template <class T>
void routed_attention_row_dots(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                               float* gaps, Stream stream) {
  const Geometry g = geometry_of(args, tiles, Pairs::all);
  const int64_t tokens = args.varlen.tokens();
  launch("attention_row_dots", row_dots_kernel<T>,
         over_items(tokens * g.q_heads * kWarp, kAttentionThreads), stream, g, args.gate,
         static_cast<const T*>(args.d_out.data), args.d_out.token_stride,
         static_cast<const T*>(args.selected), static_cast<const T*>(args.other), tokens,
         static_cast<float*>(args.row_dots), gaps);
  if (gaps == nullptr) return;
  launch("attention_gate_gradient", gate_gradient_kernel,
         LaunchShape{dim3(unsigned(g.sequences), unsigned(g.kv_heads)), dim3(kAttentionThreads)},
         stream, g, static_cast<const float*>(gaps), static_cast<float*>(args.d_gate));
}

template <class T>
void routed_attention_gradients(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                                Pairs pairs, Stream stream) {
  if (args.kernels >= AttentionKernels::mma &&
      tensor_cores_take(dtype_of<T>, args.shape, {args.q, args.k, args.v, args.d_out})) {
    return mma_attention_gradients(args, tiles, pairs, stream);
  }
  const Geometry g = geometry_of(args, tiles, pairs);
  const T *q = static_cast<const T*>(args.q.data), *k = static_cast<const T*>(args.k.data),
          *v = static_cast<const T*>(args.v.data), *d_out = static_cast<const T*>(args.d_out.data);
  const auto* row_dots = static_cast<const float*>(args.row_dots);
  const auto* lse = static_cast<const float*>(args.lse);
  with_columns(args.shape.head_dim, [&]<int kC>() {
    const LaunchShape queries{dim3(unsigned(tiles.all_query_tiles), unsigned(g.kv_heads)),
                              dim3(kAttentionThreads), shared_bytes(kC, 2, 1)};
    launch("attention_dq", dq_kernel<kC, T>, queries, stream, g, args.gate, q, k, v, d_out,
           args.q.token_stride, args.k.token_stride, args.v.token_stride, args.d_out.token_stride,
           lse, row_dots, static_cast<T*>(args.dq));
    const LaunchShape keys{
        dim3(unsigned(tiles.all_key_tiles) * kBlocksPerTile, unsigned(g.kv_heads)),
        dim3(kAttentionThreads), shared_bytes(kC, 2, 2)};
    launch("attention_dkv", dkv_kernel<kC, T>, keys, stream, g, args.gate, q, k, v, d_out,
           args.q.token_stride, args.k.token_stride, args.v.token_stride, args.d_out.token_stride,
           lse, row_dots, static_cast<T*>(args.dk), static_cast<T*>(args.dv));
  });
}

#define ELASTRON_FOR(T)                                                                           \
  template void routed_attention_row_dots<T>(const AttentionBackwardArgs&, const SequenceTiles&,  \
                                             float*, Stream);                                     \
  template void routed_attention_gradients<T>(const AttentionBackwardArgs&, const SequenceTiles&, \
                                              Pairs, Stream);
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
