// What the attention kernels for sm_90a share (docs/attention-kernels.md): two warpgroups, the
// consumers, work on 64 rows of a tile each, and one thread of a third, the producer, has the copy
// engine fill shared memory ahead of them. Device code.
//
// A consumer thread has rows g and g + 8 of its warp's 16, columns 2t and 2t + 1 of every 8
// (tensor_core.h).
#pragma once
#include <limits>

#include "ops/cuda/attention/geometry.h"
#include "ops/cuda/attention/hopper_kernels.h"
#include "ops/cuda/hopper.h"

namespace elastron::ops::cuda {

inline constexpr int kConsumers = 2, kConsumerThreads = kConsumers * kWarpgroup;
inline constexpr int kHopperThreads = kConsumerThreads + kWarpgroup;
inline constexpr int kConsumerWarps = kConsumerThreads / kWarp;
static_assert(kHopperRows == kConsumers * 64 && kHopperKeys == kHopperRows);
// The producer has little to keep. What is handed over comes from what the block was launched with,
// as many registers as three warpgroups can have: consumers would wait for more for ever.
inline constexpr int kLaunchRegisters = 65536 / kHopperThreads / 8 * 8;
inline constexpr int kProducerRegisters = 72, kConsumerRegisters = 216;
static_assert(kProducerRegisters + kConsumers * kConsumerRegisters <=
              (kConsumers + 1) * kLaunchRegisters);

// What a block of compute capability 9.x may have.
inline constexpr size_t kHopperShared = 227 * 1024;
inline constexpr float kNever = -std::numeric_limits<float>::infinity();

// Where a ring of kStages buffers is: their barriers' parity changes each time round.
template <int kStages>
struct Turn {
  uint32_t stage = 0, parity = 0;
  __device__ __forceinline__ void go_on() {
    if (++stage == uint32_t(kStages)) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// A buffer that is handed to and fro: `full` by the producer, with its bytes, `empty` by each
// consumer warp.
struct Handover {
  Barrier full, empty;
  __device__ __forceinline__ void init(uint32_t arrivals_to_fill = 1) {
    barrier_init(full, arrivals_to_fill);
    barrier_init(empty, kConsumerWarps);
  }
  // By one lane, after all lanes are done with the buffer.
  __device__ __forceinline__ void give_back(bool really = true) {
    barrier_arrive_if(really && threadIdx.x % kWarp == 0, empty);
  }
};

// A tile of kRows rows of head_dim kDim, as the copy engine leaves it: 64 columns after 64 columns.
template <int kRows, int kDim>
struct SwizzledTile {
  static constexpr uint32_t kColumnBytes = uint32_t(kRows) * kRowBytes;
  bf16 elements[kRows * kDim];

  // Rows `first` and on, a multiple of 8, as an operand.
  template <Major kMajor>
  __device__ __forceinline__ Operand<kMajor> operand(int first = 0) const {
    return {shared_address(elements) + uint32_t(first * kRowBytes), kColumnBytes};
  }
  __device__ __forceinline__ void copy_from(const CUtensorMap& map, Barrier& b, int32_t head,
                                            int32_t token) {
#pragma unroll
    for (int c = 0; c < kDim; c += kTileColumns) {
      copy_box(elements + c * kRows, map, b, c, head, token);
    }
  }
  // By all threads of a block: zeros in place of the rows from `first` on.
  __device__ __forceinline__ void clear_from(int first) {
    for (int c = 0; c < kDim; c += kTileColumns) {
      for (int i = first * kTileColumns + int(threadIdx.x); i < kRows * kTileColumns;
           i += kHopperThreads) {
        elements[c * kRows + i] = bf16(0.0f);
      }
    }
  }
};
// What a copy of a tile of queries brings. Where the query heads do not divide its rows the last of
// them are not written, and are no token's.
template <int kDim>
__device__ __forceinline__ uint32_t bytes_of_rows(const Geometry& g) {
  return uint32_t(g.tokens_per_tile * g.tile_heads * kDim) * sizeof(bf16);
}

// The first of this thread's two rows of a tile of 128; the other is 8 further on.
__device__ __forceinline__ int own_row() {
  return int(threadIdx.x) / kWarp * 16 + int(threadIdx.x) % kWarp / 4;
}

// s [64, kN] = 64 rows of a times the rows of b, over head_dim.
template <int kDim, int kN>
__device__ __forceinline__ void multiply_rows(float (&s)[kN / 8][4], const Operand<Major::k>& a,
                                              const Operand<Major::k>& b) {
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    product<kN, Major::k, Major::k>(s, a.step(step), b.step(step), step > 0);
  }
}
// sums [64, head_dim] += p [64, 16 kSteps] times the tile.
template <int kDim, int kSteps>
__device__ __forceinline__ void add_product(float (&sums)[kDim / 8][4],
                                            const uint32_t (&p)[kSteps][4],
                                            const Operand<Major::mn>& tile) {
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    product<kDim, Major::mn>(sums, p[step], tile.step(step), true);
  }
}

// The columns of a tile that one row sees, without a branch: columns below one bound, and those
// between two others. Columns are counted from this thread's first.
struct SeenColumns {
  int32_t below, from, until;

  __device__ __forceinline__ bool has(int32_t column) const {
    return (column < below) | ((column >= from) & (column < until));
  }
};
__device__ __forceinline__ int32_t lesser(int32_t a, int32_t b) { return a < b ? a : b; }
// Of a row of queries, in the tile of keys from `first_key` on.
__device__ __forceinline__ int32_t first_column(int32_t first_key) {
  return first_key + int(threadIdx.x) % 4 * 2;
}
__device__ __forceinline__ SeenColumns seen_columns(const Sight& sight, KeyMask mask,
                                                    int32_t first_key) {
  const int32_t first = first_column(first_key), past = sight.query + 1 - first;
  const int32_t sink = sight.sink - first, local = sight.local_begin - first;
  const bool shown = mask == KeyMask::shown, hidden = mask == KeyMask::hidden;
  return {.below = mask == KeyMask::none ? kHopperKeys
                   : hidden              ? 0
                   : shown               ? lesser(sink, past)
                                         : past,
          .from = shown ? local : sink,
          .until = shown    ? past
                   : hidden ? lesser(local, past)
                            : 0};
}
// Scores of queries by rows and keys from `first_key` on: those that are not seen.
template <int kBlocks>
__device__ __forceinline__ void hide(float (&s)[kBlocks][4], int32_t first_key, KeyMask mask,
                                     const Sight (&sights)[2]) {
  const SeenColumns seen[2] = {seen_columns(sights[0], mask, first_key),
                               seen_columns(sights[1], mask, first_key)};
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (!seen[i / 2].has(n * 8 + i % 2)) s[n][i] = kNever;
    }
  }
}
// The same on the diagonal: keys past the query.
template <int kBlocks>
__device__ __forceinline__ void hide_later(float (&s)[kBlocks][4], int32_t first_key,
                                           const Sight (&sights)[2]) {
  const int32_t past[2] = {sights[0].query - first_column(first_key),
                           sights[1].query - first_column(first_key)};
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (n * 8 + i % 2 > past[i / 2]) s[n][i] = kNever;
    }
  }
}

template <int kBlocks>
__device__ __forceinline__ void clear(float (&sums)[kBlocks][4]) {
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[n][i] = 0;
  }
}

// Probabilities (no number is negative), before the next wait for products (hopper.h).
template <int kBlocks>
__device__ __forceinline__ void before_the_wait(float& unused, const float (&p)[kBlocks][4]) {
  float all[kBlocks * 4];
#pragma unroll
  for (int i = 0; i < kBlocks * 4; ++i) all[i] = p[i / 4][i % 4];
  before_the_wait(unused, all);
}

// A product's result, rounded, as fragments of the next product's a: the same rows and columns are
// in the same thread.
template <int kBlocks>
__device__ __forceinline__ void round_to_fragments(const float (&s)[kBlocks][4],
                                                   uint32_t (&p)[kBlocks / 2][4]) {
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    p[n / 2][n % 2 * 2] = packed_bf16(s[n][0], s[n][1]);
    p[n / 2][n % 2 * 2 + 1] = packed_bf16(s[n][2], s[n][3]);
  }
}

// Of four threads in a row each gets what all have at its own place: word i of the result is word t
// of thread i.
__device__ __forceinline__ void transpose_words(uint32_t (&w)[4]) {
  const bool upper = threadIdx.x & 2, odd = threadIdx.x & 1;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t got = __shfl_xor_sync(kAllLanes, upper ? w[i] : w[i + 2], 2);
    (upper ? w[i] : w[i + 2]) = got;
  }
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const uint32_t got = __shfl_xor_sync(kAllLanes, odd ? w[i] : w[i + 1], 1);
    (odd ? w[i] : w[i + 1]) = got;
  }
}

// out [8 kBlocks] = factor times this thread's row `half` of the sums, 16 bytes at a time. All
// lanes call it; `wanted` is of the row.
template <int kBlocks>
__device__ __forceinline__ void write_out(const float (&sums)[kBlocks][4], int half, float factor,
                                          bool wanted, bf16* out) {
#pragma unroll
  for (int n = 0; n < kBlocks; n += 4) {
    uint32_t w[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      w[i] = packed_bf16(sums[n + i][2 * half] * factor, sums[n + i][2 * half + 1] * factor);
    }
    transpose_words(w);
    if (wanted) {
      *reinterpret_cast<uint4*>(out + (n + int(threadIdx.x) % 4) * 8) =
          make_uint4(w[0], w[1], w[2], w[3]);
    }
  }
}

// Dynamic shared memory, at the alignment of tiles: as much more is asked for.
template <class T>
__device__ __forceinline__ T& tile_memory() {
  auto* memory = dynamic_shared_memory<unsigned char>();
  const uint32_t past = shared_address(memory) % kTileAlignment;
  return *reinterpret_cast<T*>(memory + (past == 0 ? 0 : kTileAlignment - past));
}

}  // namespace elastron::ops::cuda
