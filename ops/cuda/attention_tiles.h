// What the attention kernels share: which rows and keys a block has, and below it the tiles of the
// plain kernels. Device code, and the arithmetic of their launches.
//
// Plain kernels: tiles of 64 query rows (tokens x query heads of one kv head) and 32 keys. 256
// threads: ty = thread / 16 owns rows 4 ty to 4 ty + 3, tx = thread % 16 owns keys 2 tx and 2 tx +
// 1 of a score tile and columns tx + 16 j of a row. The 16 threads of a row are half a warp.
#pragma once
#include "core/cuda/launch.h"
#include "core/error.h"
#include "ops/attention/tile_plan.h"
#include "ops/cuda/primitives.h"
#include "ops/cuda/routed_attention.h"

namespace elastron::ops::cuda {

inline constexpr int kAttentionThreads = 256, kRows = int(kTileRows), kKeys = 32;
inline constexpr int kRowsEach = 4, kKeysEach = 2, kSide = 16;
static_assert(kRows == kSide * kRowsEach && kKeys == kSide * kKeysEach &&
              kAttentionThreads == kSide * kSide && kTileKeys % kKeys == 0);
inline constexpr int kScorePitch = kKeys + 1;
inline constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

struct Geometry {
  StreamingRule rule;
  int32_t q_heads, kv_heads, head_dim, group, tokens_per_tile;
  int32_t sequences;
  float scale_log2;  // softmax scale times log2(e)
  SequenceTiles tiles;
  bool streaming_only;  // blocks of other pairs end at once
};

// The tile of a grid index: its sequence, and its number there. Keys of a sequence are its
// positions 0 to length; its queries are the positions from `offset` on. first_token and first_key
// are where position 0 stands, or would stand, in the batch: add the position.
struct Place {
  int32_t sequence, tile, first_token, first_key, length, offset;
};
// The sequence s with starts[s] <= index < starts[s + 1]; empty ones are passed over.
__device__ __forceinline__ int32_t sequence_of(const int32_t* starts, int32_t sequences,
                                               int64_t index) {
  int32_t low = 0, high = sequences;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    if (starts[middle] <= index) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}
__device__ __forceinline__ Place place_of(const Geometry& g, const int32_t* starts, int32_t index) {
  const int32_t s = sequence_of(starts, g.sequences, index);
  const int32_t first = g.tiles.cu_seqlens[s], tokens = g.tiles.cu_seqlens[s + 1] - first;
  const int32_t first_key = g.tiles.cu_keys[s], length = g.tiles.cu_keys[s + 1] - first_key;
  const int32_t offset = length - tokens;
  return {s, index - starts[s], first - offset, first_key, length, offset};
}

// Rows of a query tile: row r is position begin + r / group, query head r % group of the kv head.
struct QueryTile {
  Place place;
  int32_t begin, end;  // positions
  int32_t kv_head;
  bool full;
};
__device__ __forceinline__ bool is_full(const Geometry& g, const uint8_t* gate, int32_t sequence,
                                        int32_t kv_head) {
  return gate != nullptr && gate[int64_t(sequence) * g.kv_heads + kv_head] != 0;
}
__device__ __forceinline__ QueryTile query_tile_at(const Geometry& g, const Place& place,
                                                   int32_t kv_head, bool full) {
  const int32_t begin = place.offset + place.tile * g.tokens_per_tile;
  const int32_t end =
      begin + g.tokens_per_tile < place.length ? begin + g.tokens_per_tile : place.length;
  return {place, begin, end, kv_head, full};
}
__device__ __forceinline__ QueryTile query_tile(const Geometry& g, const uint8_t* gate,
                                                int32_t index, int32_t kv_head) {
  const Place place = place_of(g, g.tiles.query_tiles, index);
  return query_tile_at(g, place, kv_head, is_full(g, gate, place.sequence, kv_head));
}
// Where a row stands in [tokens, q_heads].
__device__ __forceinline__ int64_t item_of(const Geometry& g, const QueryTile& t, int row) {
  const int64_t token = t.place.first_token + t.begin + row / g.group;
  return token * g.q_heads + int64_t(t.kv_head) * g.group + row % g.group;
}

// tile [kRows][pitch] = rows of x (token_stride elements from token to token), zeros elsewhere.
template <class T>
__device__ __forceinline__ void load_rows(const Geometry& g, const QueryTile& t, const T* x,
                                          int64_t token_stride, int width, int pitch, float* tile) {
  const int rows = (t.end - t.begin) * g.group;
  for (int i = int(threadIdx.x); i < kRows * width; i += kAttentionThreads) {
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
                                          int64_t first_key, int64_t begin, int64_t end,
                                          int kv_head, int width, int pitch, float* tile) {
  for (int i = int(threadIdx.x); i < kKeys * width; i += kAttentionThreads) {
    const int key = i / width, column = i % width;
    float value = 0;
    if (begin + key < end && column < g.head_dim) {
      value = float(
          x[(first_key + begin + key) * token_stride + int64_t(kv_head) * g.head_dim + column]);
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
Geometry geometry_of(const Args& args, const SequenceTiles& tiles, Pairs pairs) {
  return {.rule = args.rule,
          .q_heads = int32_t(args.shape.q_heads),
          .kv_heads = int32_t(args.shape.kv_heads),
          .head_dim = int32_t(args.shape.head_dim),
          .group = int32_t(args.shape.group()),
          .tokens_per_tile = int32_t(tile_tokens(args.shape.group())),
          .sequences = int32_t(args.varlen.sequences()),
          .scale_log2 = float(args.scale) * kLog2E,
          .tiles = tiles,
          .streaming_only = pairs == Pairs::closed};
}

// Tiles of `rows` rows and kKeys keys: q (and dO), k, v; score tiles; two numbers per row.
inline size_t shared_bytes(int columns, int row_tiles, int score_tiles) {
  const int pitch = columns * kSide + 1;
  return sizeof(float) * size_t(row_tiles * kRows * pitch + 2 * kKeys * pitch +
                                score_tiles * kRows * kScorePitch + 2 * kRows);
}

}  // namespace elastron::ops::cuda
