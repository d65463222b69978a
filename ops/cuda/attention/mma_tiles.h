// What the attention kernels on tensor cores share (docs/attention-kernels.md). Tiles of 64 rows
// and 64 keys in bfloat16, four warps; a warp owns 16 rows of its products, and a thread rows g and
// g + 8 of these, columns 2t and 2t + 1 of every 8 (ops/cuda/tensor_core.h).
//
// Rows of a tile in shared memory are padded by 16 bytes: with an odd number of 16-byte chunks the
// 8 rows that one load takes lie in different banks, for every head_dim. (A swizzle by XOR does
// that for head_dim 64 and 128 only.)
#pragma once
#include "ops/cuda/attention/plain_tiles.h"
#include "ops/cuda/tensor_core.h"

namespace elastron::ops::cuda {

inline constexpr int kMmaThreads = 128, kWarpRows = 16;
inline constexpr int kMmaKeys = int(kTileKeys);
static_assert(kRows == kMmaThreads / kWarp * kWarpRows && kMmaKeys == kRows);

template <int kC>
inline constexpr int kPaddedRow = kC * 16 + 8;
template <int kC>
inline constexpr int kTileElements = kRows* kPaddedRow<kC>;

// --- Tiles into shared memory, in the background
// ---------------------------------------------------

// Rows of a query tile, zeros elsewhere.
template <int kC>
__device__ __forceinline__ void async_rows(const Geometry& g, const QueryTile& t, const bf16* x,
                                           int64_t token_stride, bf16* tile) {
  const int rows = rows_of(g, t);
#pragma unroll 2
  for (int i = int(threadIdx.x); i < kRows * 2 * kC; i += kMmaThreads) {
    const int row = i / (2 * kC), column = i % (2 * kC) * 8;
    const bool inside = row < rows && column < g.head_dim;
    const bf16* from = x;
    if (inside) {
      from += (t.place.first_token + t.begin + row / g.tile_heads) * token_stride +
              (t.head + row % g.tile_heads) * g.head_dim + column;
    }
    cp_async_16(tile + row * kPaddedRow<kC> + column, from, inside);
  }
}

// Keys [begin, end) of one kv head, zeros elsewhere.
template <int kC>
__device__ __forceinline__ void async_keys(const Geometry& g, const Place& place, const bf16* x,
                                           int64_t token_stride, int32_t begin, int32_t end,
                                           int32_t kv_head, bf16* tile) {
#pragma unroll 2
  for (int i = int(threadIdx.x); i < kMmaKeys * 2 * kC; i += kMmaThreads) {
    const int key = i / (2 * kC), column = i % (2 * kC) * 8;
    const bool inside = begin + key < end && column < g.head_dim;
    const bf16* from = x;
    if (inside) {
      from += (place.first_key + begin + key) * token_stride + kv_head * g.head_dim + column;
    }
    cp_async_16(tile + key * kPaddedRow<kC> + column, from, inside);
  }
}

struct KeysAndValues {
  const bf16 *k, *v;
  int64_t k_stride, v_stride;
};
template <int kC>
struct KeyStage {
  bf16 keys[kTileElements<kC>], values[kTileElements<kC>];
};
template <int kC>
__device__ __forceinline__ void load_stage(const Geometry& g, const Place& place,
                                           const KeysAndValues& from, int32_t begin, int32_t end,
                                           int32_t kv_head, KeyStage<kC>& stage) {
  async_keys<kC>(g, place, from.k, from.k_stride, begin, end, kv_head, stage.keys);
  async_keys<kC>(g, place, from.v, from.v_stride, begin, end, kv_head, stage.values);
}

// Shared memory of a block that owns a query tile. The walk over its key tiles is too large for
// registers: one thread goes ahead, and what it finds stands here a barrier later.
template <int kC>
struct QueryBlockMemory {
  KeyStage<kC> stages[2];
  KeyTiles<kMmaKeys> walk;
  KeyTile found[2];
  int32_t ticket;

  // The first tile; the caller has a barrier before.
  __device__ __forceinline__ KeyTile begin(const Geometry& g, const QueryTile& t, bool retrieval,
                                           bool sparse) {
    if (threadIdx.x == 0) {
      walk = KeyTiles<kMmaKeys>(pattern_of(g, t), t.begin, t.end, retrieval, sparse);
      for (KeyTile& tile : found) tile = walk.next();
    }
    __syncthreads();
    return found[0];
  }
  // The tile after the one in stage `turn`, behind the barrier that opens this one's turn.
  __device__ __forceinline__ KeyTile after(int turn) {
    const KeyTile next = found[turn ^ 1];
    if (threadIdx.x == 0) found[turn] = walk.next();
    return next;
  }
};

// --- Products ----------------------------------------------------------------------------------

// The 16 x 16 elements of `tile` at (row, column) as an a fragment.
template <int kC>
__device__ __forceinline__ void load_a(const bf16* tile, int row, int column, uint32_t (&a)[4]) {
  const int lane = int(threadIdx.x) % kWarp;
  ldmatrix_x4(a, tile + (row + lane % 16) * kPaddedRow<kC> + column + lane / 16 * 8);
}

// The warp's 16 rows of a tile, all columns, kept in registers.
template <int kC>
struct RowFragments {
  uint32_t a[kC][4];
  __device__ __forceinline__ void load(const bf16* tile, int row) {
#pragma unroll
    for (int c = 0; c < kC; ++c) load_a<kC>(tile, row, c * 16, a[c]);
  }
  __device__ __forceinline__ void at(int c, uint32_t (&f)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) f[i] = a[c][i];
  }
};
// The same, read from shared memory each time.
template <int kC>
struct RowsInTile {
  const bf16* tile;
  int row;
  __device__ __forceinline__ void at(int c, uint32_t (&f)[4]) const {
    load_a<kC>(tile, row, c * 16, f);
  }
};

// s [16, 8 kBlocks] = rows times rows `first` and on of `tile`, over head_dim.
template <int kC, int kBlocks, class Rows>
__device__ __forceinline__ void multiply_by_rows(const Rows& rows, const bf16* tile, int first,
                                                 float (&s)[kBlocks][4]) {
  const int lane = int(threadIdx.x) % kWarp;
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) s[n][i] = 0;
  }
  // Lanes 0 to 7 and 8 to 15 give columns 0 to 7 and 8 to 15 of the first 8 rows.
  const bf16* mine = tile + (first + lane / 16 * 8 + lane % 8) * kPaddedRow<kC> + lane / 8 % 2 * 8;
#pragma unroll
  for (int c = 0; c < kC; ++c) {
    uint32_t a[4];
    rows.at(c, a);
#pragma unroll
    for (int n = 0; n < kBlocks; n += 2) {
      uint32_t b[4];
      ldmatrix_x4(b, mine + n * 8 * kPaddedRow<kC> + c * 16);
      mma_bf16_16816(s[n], a, {b[0], b[1]});
      mma_bf16_16816(s[n + 1], a, {b[2], b[3]});
    }
  }
}

// sums [16, head_dim] += p [16, 16 kSteps] times rows `first` and on of `tile`.
template <int kC, int kSteps>
__device__ __forceinline__ void add_product(const uint32_t (&p)[kSteps][4], const bf16* tile,
                                            int first, float (&sums)[2 * kC][4]) {
  const int lane = int(threadIdx.x) % kWarp;
  const bf16* mine = tile + (first + lane % 16) * kPaddedRow<kC> + lane / 16 * 8;
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int c = 0; c < kC; ++c) {
      uint32_t b[4];
      ldmatrix_x4_trans(b, mine + step * 16 * kPaddedRow<kC> + c * 16);
      mma_bf16_16816(sums[2 * c], p[step], {b[0], b[1]});
      mma_bf16_16816(sums[2 * c + 1], p[step], {b[2], b[3]});
    }
  }
}

// A product's result, rounded, as the a fragments of the next product: both have the same rows and
// columns in the same lane.
template <int kBlocks>
__device__ __forceinline__ void to_fragments(const float (&s)[kBlocks][4],
                                             uint32_t (&p)[kBlocks / 2][4]) {
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    p[n / 2][n % 2 * 2] = packed_bf16(s[n][0], s[n][1]);
    p[n / 2][n % 2 * 2 + 1] = packed_bf16(s[n][2], s[n][3]);
  }
}

template <int kBlocks>
__device__ __forceinline__ void set_zero(float (&sums)[kBlocks][4]) {
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[n][i] = 0;
  }
}

// out [head_dim] = factor times this thread's row `half` (g or g + 8) of the sums.
template <int kBlocks>
__device__ __forceinline__ void write_row(const float (&sums)[kBlocks][4], int half, float factor,
                                          int head_dim, bf16* out) {
  const int column = int(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    if (n * 8 >= head_dim) continue;
    *reinterpret_cast<uint32_t*>(out + n * 8 + column) =
        packed_bf16(sums[n][2 * half] * factor, sums[n][2 * half + 1] * factor);
  }
}

// The first of a thread's two rows (the other is 8 further on), in its tile of 64.
__device__ __forceinline__ int first_row() {
  return int(threadIdx.x) / kWarp * kWarpRows + int(threadIdx.x) % kWarp / 4;
}

}  // namespace elastron::ops::cuda
