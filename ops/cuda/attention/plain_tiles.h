// Tiles of the plain attention kernels: device code, and the arithmetic of their launches.
//
// 64 query rows (tokens x query heads of one kv head) and 32 keys, half a key tile. 256 threads: ty
// = thread / 16 owns rows 4 ty to 4 ty + 3, tx = thread % 16 owns keys 2 tx and 2 tx + 1 of a score
// tile and columns tx + 16 j of a row. The 16 threads of a row are half a warp.
#pragma once
#include "core/error.h"
#include "ops/attention/tile_plan.h"
#include "ops/cuda/attention/geometry.h"

namespace elastron::ops::cuda {

inline constexpr int kAttentionThreads = 256, kRows = int(kTileRows), kKeys = 32;
inline constexpr int kRowsEach = 4, kKeysEach = 2, kSide = 16;
static_assert(kRows == kSide * kRowsEach && kKeys == kSide * kKeysEach &&
              kAttentionThreads == kSide * kSide && kTileKeys % kKeys == 0);
inline constexpr int kScorePitch = kKeys + 1;

// tile [kRows][pitch] = rows of x (token_stride elements from token to token), zeros elsewhere.
template <class T>
__device__ __forceinline__ void load_rows(const Geometry& g, const QueryTile& t, const T* x,
                                          int64_t token_stride, int width, int pitch, float* tile) {
  const int rows = rows_of(g, t);
  for (int i = int(threadIdx.x); i < kRows * width; i += kAttentionThreads) {
    const int row = i / width, column = i % width;
    float value = 0;
    if (row < rows && column < g.head_dim) {
      const int64_t token = t.place.first_token + t.begin + row / g.tile_heads;
      const int64_t head = t.head + row % g.tile_heads;
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
  switch (padded_width(head_dim) / 16) {
    case 2: return f.template operator()<2>();
    case 4: return f.template operator()<4>();
    case 5: return f.template operator()<5>();
    case 6: return f.template operator()<6>();
    default: return f.template operator()<8>();
  }
}

// Tiles of `rows` rows and kKeys keys: q (and dO), k, v; score tiles; two numbers per row.
inline size_t shared_bytes(int columns, int row_tiles, int score_tiles) {
  const int pitch = columns * kSide + 1;
  return sizeof(float) * size_t(row_tiles * kRows * pitch + 2 * kKeys * pitch +
                                score_tiles * kRows * kScorePitch + 2 * kRows);
}

}  // namespace elastron::ops::cuda
