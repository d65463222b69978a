// Tiles of 64 query rows (tokens x query heads of one kv head) and 32 keys. 256 threads: ty =
// thread / 16 owns rows 4 ty to 4 ty + 3, tx = thread % 16 owns keys 2 tx and 2 tx + 1 of a score
// tile and columns tx + 16 j of a row. The 16 threads of a row are half a warp.
#include <cmath>
#include <limits>

#include "core/cuda/launch.h"
#include "core/error.h"
#include "ops/attention/tile_plan.h"
#include "ops/cuda/primitives.h"
#include "ops/cuda/routed_attention.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 256, kRows = int(kTileRows), kKeys = int(kKeysPerTile);
constexpr int kRowsEach = 4, kKeysEach = 2, kSide = 16;
static_assert(kRows == kSide * kRowsEach && kKeys == kSide * kKeysEach &&
              kThreads == kSide * kSide);
constexpr int kScorePitch = kKeys + 1;
constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

struct Geometry {
  StreamingRule rule;
  int32_t q_heads, kv_heads, head_dim, group, tokens_per_tile;
  int32_t sequences;
  float scale_log2;  // softmax scale times log2(e)
  SequenceTiles tiles;
};

// The tile of a grid index: its sequence, and its number there.
struct Place {
  int32_t sequence, tile, first_token, length;
};
__device__ __forceinline__ Place place_of(const Geometry& g, const int32_t* starts, int32_t index) {
  int32_t low = 0, high = g.sequences;  // starts[low] <= index < starts[high]
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    if (starts[middle] <= index) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const int32_t first = g.tiles.cu_seqlens[low];
  return {low, index - starts[low], first, g.tiles.cu_seqlens[low + 1] - first};
}

// Rows of a query tile: row r is token begin + r / group, query head r % group of the kv head.
struct QueryTile {
  Place place;
  int32_t begin, end;  // tokens of the sequence
  int32_t kv_head;
  bool full;
};
__device__ __forceinline__ QueryTile query_tile(const Geometry& g, const uint8_t* gate,
                                                int32_t index, int32_t kv_head) {
  QueryTile t;
  t.place = place_of(g, g.tiles.query_tiles, index);
  t.begin = t.place.tile * g.tokens_per_tile;
  t.end =
      t.begin + g.tokens_per_tile < t.place.length ? t.begin + g.tokens_per_tile : t.place.length;
  t.kv_head = kv_head;
  t.full = gate[int64_t(t.place.sequence) * g.kv_heads + kv_head] != 0;
  return t;
}

// tile [kRows][pitch] = rows of x (token_stride elements from token to token), zeros elsewhere.
template <class T>
__device__ __forceinline__ void load_rows(const Geometry& g, const QueryTile& t, const T* x,
                                          int64_t token_stride, int width, int pitch, float* tile) {
  const int rows = (t.end - t.begin) * g.group;
  for (int i = int(threadIdx.x); i < kRows * width; i += kThreads) {
    const int row = i / width, column = i % width;
    float value = 0;
    if (row < rows && column < g.head_dim) {
      const int64_t token = t.place.first_token + t.begin + row / g.group;
      const int64_t head = int64_t(t.kv_head) * g.group + row % g.group;
      value = float(x[token * token_stride + head * g.head_dim + column]);
    }
    tile[row * pitch + column] = value;
  }
}

// tile [kKeys][pitch] = keys [begin, end) of one kv head, zeros elsewhere.
template <class T>
__device__ __forceinline__ void load_keys(const Geometry& g, const T* x, int64_t token_stride,
                                          int64_t first_token, int64_t begin, int64_t end,
                                          int kv_head, int width, int pitch, float* tile) {
  for (int i = int(threadIdx.x); i < kKeys * width; i += kThreads) {
    const int key = i / width, column = i % width;
    float value = 0;
    if (begin + key < end && column < g.head_dim) {
      value = float(
          x[(first_token + begin + key) * token_stride + int64_t(kv_head) * g.head_dim + column]);
    }
    tile[key * pitch + column] = value;
  }
}

// s[a][b] = <row 4 ty + a, key 2 tx + b>
__device__ __forceinline__ void dot_tile(const float* rows, int row_pitch, const float* keys,
                                         int key_pitch, int width,
                                         float (&s)[kRowsEach][kKeysEach]) {
  const int ty = int(threadIdx.x) / kSide, tx = int(threadIdx.x) % kSide;
#pragma unroll
  for (int a = 0; a < kRowsEach; ++a) {
#pragma unroll
    for (int b = 0; b < kKeysEach; ++b) s[a][b] = 0;
  }
  for (int i = 0; i < width; ++i) {
    float r[kRowsEach], k[kKeysEach];
#pragma unroll
    for (int a = 0; a < kRowsEach; ++a) r[a] = rows[(ty * kRowsEach + a) * row_pitch + i];
#pragma unroll
    for (int b = 0; b < kKeysEach; ++b) k[b] = keys[(tx * kKeysEach + b) * key_pitch + i];
#pragma unroll
    for (int a = 0; a < kRowsEach; ++a) {
#pragma unroll
      for (int b = 0; b < kKeysEach; ++b) s[a][b] += r[a] * k[b];
    }
  }
}

// Over the 16 threads of a row.
__device__ __forceinline__ float row_max(float x) { return warp_max<kSide>(x); }
__device__ __forceinline__ float row_sum(float x) { return warp_sum<kSide>(x); }

enum class Part { streaming, rest };

// --- Forward
// ---------------------------------------------------------------------------------------

// kC: columns each thread owns of a row; head_dim <= 16 kC.
template <int kC>
struct Running {
  float sums[kRowsEach][kC];
  float most[kRowsEach], total[kRowsEach];
};

template <int kC, class T>
__device__ void visit_keys(const Geometry& g, const QueryTile& t, const KeySegments& segments,
                           Part part, const T* k, const T* v, int64_t k_stride, int64_t v_stride,
                           const float* queries, float* keys, float* values, float* scores,
                           Running<kC>& run) {
  constexpr int kWidth = kC * kSide, kPitch = kWidth + 1;
  const int ty = int(threadIdx.x) / kSide, tx = int(threadIdx.x) % kSide;
  for (int n = 0; n < segments.count; ++n) {
    const KeySegment segment = segments.items[n];
    for (int64_t begin = segment.begin; begin < segment.end; begin += kKeys) {
      const int64_t end = begin + kKeys < segment.end ? begin + kKeys : segment.end;
      __syncthreads();  // the last tile has been read
      load_keys(g, k, k_stride, t.place.first_token, begin, end, t.kv_head, kWidth, kPitch, keys);
      load_keys(g, v, v_stride, t.place.first_token, begin, end, t.kv_head, kWidth, kPitch, values);
      __syncthreads();
      float s[kRowsEach][kKeysEach];
      dot_tile(queries, kPitch, keys, kPitch, kWidth, s);
#pragma unroll
      for (int a = 0; a < kRowsEach; ++a) {
        const int row = ty * kRowsEach + a;
        const int64_t query = t.begin + row / g.group;
        float most = run.most[a];
#pragma unroll
        for (int b = 0; b < kKeysEach; ++b) {
          const int64_t key = begin + tx * kKeysEach + b;
          bool seen = key < end;
          if (segment.masked) {
            const bool shown = g.rule.visible(query, key);
            seen = seen && (part == Part::streaming ? shown : key <= query && !shown);
          }
          s[a][b] = seen ? s[a][b] * g.scale_log2 : -std::numeric_limits<float>::infinity();
          most = s[a][b] > most ? s[a][b] : most;
        }
        most = row_max(most);
        // Before a row has seen a key its maximum is -inf, and so may all of the tile be.
        const float keep = most == run.most[a] ? 1.0f : exp2f(run.most[a] - most);
        float total = 0;
#pragma unroll
        for (int b = 0; b < kKeysEach; ++b) {
          const float p =
              s[a][b] == -std::numeric_limits<float>::infinity() ? 0.0f : exp2f(s[a][b] - most);
          total += p;
          scores[row * kScorePitch + tx * kKeysEach + b] = p;
        }
        run.total[a] = run.total[a] * keep + row_sum(total);
        run.most[a] = most;
#pragma unroll
        for (int j = 0; j < kC; ++j) run.sums[a][j] *= keep;
      }
      __syncwarp();  // a row's probabilities come from its own half warp
      for (int key = 0; key < kKeys; ++key) {
        float p[kRowsEach];
#pragma unroll
        for (int a = 0; a < kRowsEach; ++a) {
          p[a] = scores[(ty * kRowsEach + a) * kScorePitch + key];
        }
#pragma unroll
        for (int j = 0; j < kC; ++j) {
          const float value = values[key * kPitch + tx + j * kSide];
#pragma unroll
          for (int a = 0; a < kRowsEach; ++a) run.sums[a][j] += p[a] * value;
        }
      }
    }
  }
}

template <int kC, class T>
__device__ void write_rows(const Geometry& g, const QueryTile& t, const Running<kC>& run, T* out,
                           float* lse) {
  const int ty = int(threadIdx.x) / kSide, tx = int(threadIdx.x) % kSide;
#pragma unroll
  for (int a = 0; a < kRowsEach; ++a) {
    const int row = ty * kRowsEach + a;
    if (row >= (t.end - t.begin) * g.group) continue;
    const int64_t token = t.place.first_token + t.begin + row / g.group;
    const int64_t head = int64_t(t.kv_head) * g.group + row % g.group;
    const int64_t at = token * g.q_heads + head;
    const float inverse = 1.0f / run.total[a];
#pragma unroll
    for (int j = 0; j < kC; ++j) {
      const int column = tx + j * kSide;
      if (column < g.head_dim) {
        detail::put(out[at * g.head_dim + column], run.sums[a][j] * inverse);
      }
    }
    if (lse != nullptr && tx == 0) lse[at] = (run.most[a] + log2f(run.total[a])) * kLn2;
  }
}

template <int kC, class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(Geometry g, const uint8_t* gate, const T* q, const T* k, const T* v,
                   int64_t q_stride, int64_t k_stride, int64_t v_stride, T* selected, T* other,
                   float* lse) {
  constexpr int kWidth = kC * kSide, kPitch = kWidth + 1;
  float* queries = dynamic_shared_memory<float>();  // [rows][pitch]
  float* keys = queries + kRows * kPitch;           // [keys][pitch]
  float* values = keys + kKeys * kPitch;            // [keys][pitch]
  float* scores = values + kKeys * kPitch;          // [rows][score pitch]
  // The last tiles of a sequence cost most: they start first.
  const QueryTile t =
      query_tile(g, gate, g.tiles.all_query_tiles - 1 - int32_t(blockIdx.x), int32_t(blockIdx.y));
  load_rows(g, t, q, q_stride, kWidth, kPitch, queries);
  Running<kC> run;
#pragma unroll
  for (int a = 0; a < kRowsEach; ++a) {
    run.most[a] = -std::numeric_limits<float>::infinity();
    run.total[a] = 0;
#pragma unroll
    for (int j = 0; j < kC; ++j) run.sums[a][j] = 0;
  }
  const QueryTilePlan plan = plan_query_tile(g.rule, t.begin, t.end);
  visit_keys<kC>(g, t, plan.streaming, Part::streaming, k, v, k_stride, v_stride, queries, keys,
                 values, scores, run);
  T* streaming_out = t.full ? other : selected;
  if (streaming_out != nullptr) write_rows(g, t, run, streaming_out, t.full ? nullptr : lse);
  T* full_out = t.full ? selected : other;
  if (full_out == nullptr) return;
  visit_keys<kC>(g, t, plan.rest, Part::rest, k, v, k_stride, v_stride, queries, keys, values,
                 scores, run);
  write_rows(g, t, run, full_out, t.full ? lse : nullptr);
}

// --- Backward
// --------------------------------------------------------------------------------------

// One warp per (token, query head): <dO, selected>, and the gap between the branches, signed so
// that it is <dO, O_FA - O_SA>.
template <class T>
__global__ void row_dots_kernel(Geometry g, const uint8_t* gate, const T* d_out, int64_t d_stride,
                                const T* selected, const T* other, int64_t tokens, float* row_dots,
                                float* gaps) {
  const int64_t item = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
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
  int32_t low = 0, high = g.sequences;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    if (g.tiles.cu_seqlens[middle] <= token) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const bool full = gate[int64_t(low) * g.kv_heads + head / g.group] != 0;
  gaps[item] = full ? gap : -gap;
}

// One block per (sequence, kv head), in a fixed order.
__global__ void gate_gradient_kernel(Geometry g, const float* gaps, float* d_gate) {
  __shared__ float scratch[kThreads / kWarp];
  const int32_t s = int32_t(blockIdx.x), h = int32_t(blockIdx.y);
  const int64_t begin = g.tiles.cu_seqlens[s], end = g.tiles.cu_seqlens[s + 1];
  float sum = 0;
  for (int64_t i = threadIdx.x; i < (end - begin) * g.group; i += kThreads) {
    sum += gaps[(begin + i / g.group) * g.q_heads + int64_t(h) * g.group + i % g.group];
  }
  sum = block_sum<kThreads>(sum, scratch);
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
  for (int row = int(threadIdx.x); row < kRows; row += kThreads) {
    if (row >= (t.end - t.begin) * g.group) continue;
    const int64_t token = t.place.first_token + t.begin + row / g.group;
    const int64_t at = token * g.q_heads + int64_t(t.kv_head) * g.group + row % g.group;
    tile_lse[row] = lse[at] * kLog2E;
    tile_dots[row] = row_dots[at];
  }
}

// A block owns a query tile: dq = scale times the sum over its keys of ds k.
template <int kC, class T>
__global__ void __launch_bounds__(kThreads)
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
        load_keys(g, k, k_stride, t.place.first_token, begin, end, t.kv_head, kWidth, kPitch, keys);
        load_keys(g, v, v_stride, t.place.first_token, begin, end, t.kv_head, kWidth, kPitch,
                  values);
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
    const int64_t token = t.place.first_token + t.begin + row / g.group;
    const int64_t at = token * g.q_heads + int64_t(t.kv_head) * g.group + row % g.group;
#pragma unroll
    for (int j = 0; j < kC; ++j) {
      const int column = tx + j * kSide;
      if (column < g.head_dim) detail::put(dq[at * g.head_dim + column], sums[a][j] * scale);
    }
  }
}

// A block owns a key tile: dv = sum of p dO, dk = scale times the sum of ds q, over the query tiles
// that see it, in order.
template <int kC, class T>
__global__ void __launch_bounds__(kThreads)
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
  const Place place = place_of(g, g.tiles.key_tiles, int32_t(blockIdx.x));
  const int32_t kv_head = int32_t(blockIdx.y);
  const bool full = gate[int64_t(place.sequence) * g.kv_heads + kv_head] != 0;
  const int64_t key_begin = int64_t(place.tile) * kKeys;
  const int64_t key_end = key_begin + kKeys < place.length ? key_begin + kKeys : place.length;
  load_keys(g, k, k_stride, place.first_token, key_begin, key_end, kv_head, kWidth, kPitch, keys);
  load_keys(g, v, v_stride, place.first_token, key_begin, key_end, kv_head, kWidth, kPitch, values);
  float dk_sums[kKeysEach][kC], dv_sums[kKeysEach][kC];
#pragma unroll
  for (int b = 0; b < kKeysEach; ++b) {
#pragma unroll
    for (int j = 0; j < kC; ++j) dk_sums[b][j] = dv_sums[b][j] = 0;
  }
  const int32_t first = g.tiles.query_tiles[place.sequence];
  const int32_t count = g.tiles.query_tiles[place.sequence + 1] - first;
  for (int32_t n = int32_t(key_begin) / g.tokens_per_tile; n < count; ++n) {
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
    const int64_t at = (place.first_token + key) * g.kv_heads + kv_head;
#pragma unroll
    for (int j = 0; j < kC; ++j) {
      const int column = tx + j * kSide;
      if (column >= g.head_dim) continue;
      detail::put(dk[at * g.head_dim + column], dk_sums[b][j] * scale);
      detail::put(dv[at * g.head_dim + column], dv_sums[b][j]);
    }
  }
}

// f.operator()<kC>(), 16 kC >= head_dim.
template <class F>
void with_columns(int64_t head_dim, F&& f) {
  ELASTRON_CHECK(head_dim <= kMostHeadDim, "attention on the GPU: head_dim is at most 128");
  if (head_dim <= 32) return f.template operator()<2>();
  if (head_dim <= 64) return f.template operator()<4>();
  if (head_dim <= 80) return f.template operator()<5>();
  if (head_dim <= 96) return f.template operator()<6>();
  return f.template operator()<8>();
}

template <class Args>
Geometry geometry_of(const Args& args, const SequenceTiles& tiles) {
  return {.rule = args.rule,
          .q_heads = int32_t(args.shape.q_heads),
          .kv_heads = int32_t(args.shape.kv_heads),
          .head_dim = int32_t(args.shape.head_dim),
          .group = int32_t(args.shape.group()),
          .tokens_per_tile = int32_t(tile_tokens(args.shape.group())),
          .sequences = int32_t(args.varlen.sequences()),
          .scale_log2 = float(args.scale) * kLog2E,
          .tiles = tiles};
}

// Tiles of `rows` rows and kKeys keys: q (and dO), k, v; score tiles; two numbers per row.
size_t shared_bytes(int columns, int row_tiles, int score_tiles) {
  const int pitch = columns * kSide + 1;
  return sizeof(float) * size_t(row_tiles * kRows * pitch + 2 * kKeys * pitch +
                                score_tiles * kRows * kScorePitch + 2 * kRows);
}

}  // namespace

template <class T>
void routed_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                              Stream stream) {
  const Geometry g = geometry_of(args, tiles);
  with_columns(args.shape.head_dim, [&]<int kC>() {
    const LaunchShape shape{dim3(unsigned(tiles.all_query_tiles), unsigned(g.kv_heads)),
                            dim3(kThreads), shared_bytes(kC, 1, 1)};
    launch("routed_attention_forward", forward_kernel<kC, T>, shape, stream, g, args.gate,
           static_cast<const T*>(args.q.data), static_cast<const T*>(args.k.data),
           static_cast<const T*>(args.v.data), args.q.token_stride, args.k.token_stride,
           args.v.token_stride, static_cast<T*>(args.selected), static_cast<T*>(args.other),
           static_cast<float*>(args.lse));
  });
}

template <class T>
void routed_attention_backward(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                               float* gaps, Stream stream) {
  const Geometry g = geometry_of(args, tiles);
  const T *q = static_cast<const T*>(args.q.data), *k = static_cast<const T*>(args.k.data),
          *v = static_cast<const T*>(args.v.data), *d_out = static_cast<const T*>(args.d_out.data);
  const int64_t tokens = args.varlen.tokens();
  auto* row_dots = static_cast<float*>(args.row_dots);
  launch("attention_row_dots", row_dots_kernel<T>, over_items(tokens * g.q_heads * kWarp, kThreads),
         stream, g, args.gate, d_out, args.d_out.token_stride, static_cast<const T*>(args.selected),
         static_cast<const T*>(args.other), tokens, row_dots, gaps);
  if (gaps != nullptr) {
    launch("attention_gate_gradient", gate_gradient_kernel,
           LaunchShape{dim3(unsigned(g.sequences), unsigned(g.kv_heads)), dim3(kThreads)}, stream,
           g, static_cast<const float*>(gaps), static_cast<float*>(args.d_gate));
  }
  if (args.dq == nullptr) return;
  const auto* lse = static_cast<const float*>(args.lse);
  with_columns(args.shape.head_dim, [&]<int kC>() {
    const LaunchShape queries{dim3(unsigned(tiles.all_query_tiles), unsigned(g.kv_heads)),
                              dim3(kThreads), shared_bytes(kC, 2, 1)};
    launch("attention_dq", dq_kernel<kC, T>, queries, stream, g, args.gate, q, k, v, d_out,
           args.q.token_stride, args.k.token_stride, args.v.token_stride, args.d_out.token_stride,
           lse, static_cast<const float*>(row_dots), static_cast<T*>(args.dq));
    const LaunchShape keys{dim3(unsigned(tiles.all_key_tiles), unsigned(g.kv_heads)),
                           dim3(kThreads), shared_bytes(kC, 2, 2)};
    launch("attention_dkv", dkv_kernel<kC, T>, keys, stream, g, args.gate, q, k, v, d_out,
           args.q.token_stride, args.k.token_stride, args.v.token_stride, args.d_out.token_stride,
           lse, static_cast<const float*>(row_dots), static_cast<T*>(args.dk),
           static_cast<T*>(args.dv));
  });
}

#define ELASTRON_FOR(T)                                                                          \
  template void routed_attention_forward<T>(const AttentionForwardArgs&, const SequenceTiles&,   \
                                            Stream);                                             \
  template void routed_attention_backward<T>(const AttentionBackwardArgs&, const SequenceTiles&, \
                                             float*, Stream);
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
