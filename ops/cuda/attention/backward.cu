// The selected branch only; of the other one a row dot with dO (docs/method.md, Selected backward).
// Query tiles own dq, key tiles dk and dv: scores are computed twice, and nothing depends on the
// order of blocks.
#include <cmath>
#include <limits>

#include "ops/cuda/attention/hopper_kernels.h"
#include "ops/cuda/attention/mma_kernels.h"
#include "ops/cuda/attention/plain_tiles.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

// One warp per (token, query head): <dO, selected>, and the gap between the branches, signed so
// that it is <dO, O_retrieval - O_sparse>.
template <class T>
__global__ void row_dots_kernel(Geometry g, const T* d_out, int64_t d_stride, const T* selected,
                                const T* other, int64_t tokens, float* row_dots, float* gaps) {
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
  gaps[item] = is_open(g, s, int32_t(head / g.group)) ? gap : -gap;
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
// seen(a, b): of the thread's rows and keys.
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
    const bool inside = row < rows_of(g, t);
#pragma unroll
    for (int b = 0; b < kKeysEach; ++b) {
      const int key = tx * kKeysEach + b;
      float p = 0;
      if (inside && seen(a, b)) p = exp2f(s[a][b] * g.scale_log2 - lse[row]);
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
    if (row >= rows_of(g, t)) continue;
    const int64_t at = item_of(g, t, row);
    tile_lse[row] = lse[at] * kLog2E;
    tile_dots[row] = row_dots[at];
  }
}

template <class T>
struct Inputs {
  const T *q, *k, *v, *d_out;
  int64_t q_stride, k_stride, v_stride, d_stride;
  const float *lse, *row_dots;
};

// Shared memory of a block, with kScoreTiles tiles of scores.
template <int kC, int kScoreTiles>
struct Tiles {
  static constexpr int kWidth = kC * kSide, kPitch = kWidth + 1;
  float *queries, *d_rows, *keys, *values, *p, *ds, *lse, *dots;

  __device__ explicit Tiles(float* memory)
      : queries(memory),                                  // [rows][pitch]
        d_rows(queries + kRows * kPitch),                 // [rows][pitch]
        keys(d_rows + kRows * kPitch),                    // [keys][pitch]
        values(keys + kKeys * kPitch),                    // [keys][pitch]
        p(values + kKeys * kPitch),                       // [rows][score pitch], or ds's own
        ds(p + (kScoreTiles - 1) * kRows * kScorePitch),  // [rows][score pitch]
        lse(ds + kRows * kScorePitch),                    // [rows]
        dots(lse + kRows) {}                              // [rows]

  template <class T>
  __device__ void load_queries(const Geometry& g, const QueryTile& t, const Inputs<T>& in) const {
    load_rows(g, t, in.q, in.q_stride, kWidth, kPitch, queries);
    load_rows(g, t, in.d_out, in.d_stride, kWidth, kPitch, d_rows);
    load_statistics(g, t, in.lse, in.row_dots, lse, dots);
  }
  template <class T>
  __device__ void load_keys_of(const Geometry& g, const Place& place, const Inputs<T>& in,
                               int32_t begin, int32_t end, int32_t kv_head) const {
    load_keys(g, in.k, in.k_stride, place.first_key, begin, end, kv_head, kWidth, kPitch, keys);
    load_keys(g, in.v, in.v_stride, place.first_key, begin, end, kv_head, kWidth, kPitch, values);
  }
};

// dq of a query tile = scale times the sum over its keys of ds k.
template <int kC, class T>
__device__ void dq_tile(const Geometry& g, const QueryTile& t, bool open, const Inputs<T>& in,
                        const Tiles<kC, 1>& space, T* dq) {
  constexpr int kWidth = kC * kSide, kPitch = kWidth + 1;
  const int ty = int(threadIdx.x) / kSide, tx = int(threadIdx.x) % kSide;
  space.load_queries(g, t, in);
  const int first = ty * kRowsEach;
  const Sight sights[kRowsEach] = {
      {g, t, first}, {g, t, first + 1}, {g, t, first + 2}, {g, t, first + 3}};
  float sums[kRowsEach][kC];
#pragma unroll
  for (int a = 0; a < kRowsEach; ++a) {
#pragma unroll
    for (int j = 0; j < kC; ++j) sums[a][j] = 0;
  }
  KeyTiles<int(kTileKeys)> walk(pattern_of(g, t), t.begin, t.end, open, !open);
  for (KeyTile tile = walk.next(); tile.part != Part::end; tile = walk.next()) {
    for (int32_t begin = tile.begin; begin < tile.end; begin += kKeys) {
      __syncthreads();
      space.load_keys_of(g, t.place, in, begin, tile.end, t.kv_head);
      __syncthreads();
      score_gradients(
          g, t, space.queries, space.d_rows, space.keys, space.values, kPitch, kWidth, space.lse,
          space.dots,
          [&](int a, int b) { return sights[a].sees(tile.mask, begin + tx * kKeysEach + b); },
          static_cast<float*>(nullptr), space.ds);
      __syncwarp();
      for (int key = 0; key < kKeys; ++key) {
        float d[kRowsEach];
#pragma unroll
        for (int a = 0; a < kRowsEach; ++a) d[a] = space.ds[(first + a) * kScorePitch + key];
#pragma unroll
        for (int j = 0; j < kC; ++j) {
          const float x = space.keys[key * kPitch + tx + j * kSide];
#pragma unroll
          for (int a = 0; a < kRowsEach; ++a) sums[a][j] += d[a] * x;
        }
      }
    }
  }
  const float scale = g.scale_log2 * kLn2;
#pragma unroll
  for (int a = 0; a < kRowsEach; ++a) {
    const int row = first + a;
    if (row >= rows_of(g, t)) continue;
    const int64_t at = item_of(g, t, row);
#pragma unroll
    for (int j = 0; j < kC; ++j) {
      const int column = tx + j * kSide;
      if (column < g.head_dim) detail::put(dq[at * g.head_dim + column], sums[a][j] * scale);
    }
  }
}

template <int kC, class T>
__global__ void __launch_bounds__(kAttentionThreads)
    dq_kernel(Geometry g, TileQueue queue, Inputs<T> in, T* dq) {
  __shared__ int32_t ticket;
  const Tiles<kC, 1> space(dynamic_shared_memory<float>());
  ScheduledTile at;
  while (take_tile(queue, &ticket, at)) {
    const QueryTile t = query_tile_at(g, place_of(g, at.sequence), at.head, at.tile);
    dq_tile<kC, T>(g, t, is_open(g, at.sequence, t.kv_head), in, space, dq);
  }
}

// dk and dv of the kKeys keys from key_begin on, of a key tile: dv = sum of p dO, dk = scale times
// the sum of ds q, over the query tiles that see the tile, in order.
template <int kC, class T>
__device__ void dkv_tile(const Geometry& g, const KeyItem& item, int32_t key_begin,
                         const Inputs<T>& in, const Tiles<kC, 2>& space, T* dk, T* dv) {
  constexpr int kWidth = kC * kSide, kPitch = kWidth + 1;
  const int ty = int(threadIdx.x) / kSide, tx = int(threadIdx.x) % kSide;
  const Place& place = item.place;
  const KeySetKind set = g.sets.of(is_open(g, place.sequence, item.kv_head));
  const StreamingRule rule = rule_of(g, place);
  const auto dense_from = int32_t(QuerySpan::least(rule.dense_from, place.length));
  const int32_t key = key_begin + tx * kKeysEach;
  const KeySight sights[kKeysEach] = {{g, place, set, key}, {g, place, set, key + 1}};
  __syncthreads();  // the last keys have been read
  space.load_keys_of(g, place, in, key_begin, item.end, item.kv_head);
  float dk_sums[kKeysEach][kC], dv_sums[kKeysEach][kC];
#pragma unroll
  for (int b = 0; b < kKeysEach; ++b) {
#pragma unroll
    for (int j = 0; j < kC; ++j) dk_sums[b][j] = dv_sums[b][j] = 0;
  }
  QueryWalk<> walk(g, item);
  for (SeenFrom from = walk.next(g); from.tile >= 0; from = walk.next(g)) {
    const QueryTile t = query_tile_at(g, place, from.head, from.tile);
    __syncthreads();
    space.load_queries(g, t, in);
    __syncthreads();
    score_gradients(
        g, t, space.queries, space.d_rows, space.keys, space.values, kPitch, kWidth, space.lse,
        space.dots,
        [&](int a, int b) {
          return sights[b].seen(t.begin + (ty * kRowsEach + a) / g.tile_heads, dense_from);
        },
        space.p, space.ds);
    __syncthreads();  // all rows' scores are there: a thread now reads those of other warps
    for (int row = 0; row < kRows; ++row) {
      float p[kKeysEach], d[kKeysEach];
#pragma unroll
      for (int b = 0; b < kKeysEach; ++b) {
        p[b] = space.p[row * kScorePitch + ty * kKeysEach + b];
        d[b] = space.ds[row * kScorePitch + ty * kKeysEach + b];
      }
#pragma unroll
      for (int j = 0; j < kC; ++j) {
        const float x = space.queries[row * kPitch + tx + j * kSide];
        const float y = space.d_rows[row * kPitch + tx + j * kSide];
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
    const int32_t own = key_begin + ty * kKeysEach + b;
    if (own >= item.end) continue;
    const int64_t at = int64_t(place.first_key + own) * g.kv_heads + item.kv_head;
#pragma unroll
    for (int j = 0; j < kC; ++j) {
      const int column = tx + j * kSide;
      if (column >= g.head_dim) continue;
      detail::put(dk[at * g.head_dim + column], dk_sums[b][j] * scale);
      detail::put(dv[at * g.head_dim + column], dv_sums[b][j]);
    }
  }
}

template <int kC, class T>
__global__ void __launch_bounds__(kAttentionThreads)
    dkv_kernel(Geometry g, KeyTileQueue queue, Inputs<T> in, T* dk, T* dv) {
  __shared__ int32_t ticket;
  const Tiles<kC, 2> space(dynamic_shared_memory<float>());
  ScheduledTile at;
  while (take_tile(queue.queue, &ticket, at)) {
    const KeyItem item = key_item_at<int(kTileKeys)>(g, queue, at);
    for (int32_t begin = item.begin; begin < item.end; begin += kKeys) {
      dkv_tile<kC, T>(g, item, begin, in, space, dk, dv);
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
         over_items(tokens * g.q_heads * kWarp, kAttentionThreads), stream, g,
         static_cast<const T*>(args.d_out.data), args.d_out.token_stride,
         static_cast<const T*>(args.selected), static_cast<const T*>(args.other), tokens,
         static_cast<float*>(args.row_dots), gaps);
  if (gaps == nullptr) return;
  launch("attention_gate_gradient", gate_gradient_kernel,
         LaunchShape{dim3(unsigned(g.sequences), unsigned(g.kv_heads)), dim3(kAttentionThreads)},
         stream, g, static_cast<const float*>(gaps), static_cast<float*>(args.d_gate));
}

AttentionKernels gradient_kernels(DType dtype, const AttentionBackwardArgs& args) {
  return choose_kernels(kernel_question(dtype, args, {args.q, args.k, args.v, args.d_out}, true),
                        attention_device());
}

template <class T>
void routed_attention_gradients(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                                Pairs pairs, Device& device, Stream stream) {
  switch (gradient_kernels(dtype_of<T>, args)) {
    case AttentionKernels::hopper:
      return hopper_attention_gradients(args, tiles, pairs, device, stream);
    case AttentionKernels::mma: return mma_attention_gradients(args, tiles, pairs, device, stream);
    case AttentionKernels::plain: break;
  }
  const Geometry g = geometry_of(args, tiles, pairs);
  const auto data = [](const HeadsView& x) { return static_cast<const T*>(x.data); };
  const Inputs<T> in{.q = data(args.q),
                     .k = data(args.k),
                     .v = data(args.v),
                     .d_out = data(args.d_out),
                     .q_stride = args.q.token_stride,
                     .k_stride = args.k.token_stride,
                     .v_stride = args.v.token_stride,
                     .d_stride = args.d_out.token_stride,
                     .lse = static_cast<const float*>(args.lse),
                     .row_dots = static_cast<const float*>(args.row_dots)};
  constexpr TileSize kSize{kRows, int(kTileKeys)};
  const auto queries = schedule_query_tiles(args, tiles, kSize, false, pairs, device, stream);
  const auto keys = schedule_key_tiles(args, tiles, kSize, false, pairs, device, stream);
  with_columns(args.shape.head_dim, [&]<int kC>() {
    launch("attention_dq", dq_kernel<kC, T>,
           persistent("attention_dq", dq_kernel<kC, T>, kAttentionThreads, shared_bytes(kC, 2, 1),
                      queries.queue().count),
           stream, g, queries.queue(), in, static_cast<T*>(args.dq));
    launch("attention_dkv", dkv_kernel<kC, T>,
           persistent("attention_dkv", dkv_kernel<kC, T>, kAttentionThreads, shared_bytes(kC, 2, 2),
                      keys.queue().queue.count),
           stream, g, keys.queue(), in, static_cast<T*>(args.dk), static_cast<T*>(args.dv));
  });
}

#define ELASTRON_FOR(T)                                                                           \
  template void routed_attention_row_dots<T>(const AttentionBackwardArgs&, const SequenceTiles&,  \
                                             float*, Stream);                                     \
  template void routed_attention_gradients<T>(const AttentionBackwardArgs&, const SequenceTiles&, \
                                              Pairs, Device&, Stream);
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
