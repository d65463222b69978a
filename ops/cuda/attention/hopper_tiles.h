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
  __device__ __forceinline__ void give_back() {
    if (threadIdx.x % kWarp == 0) barrier_arrive(empty);
  }
};

// A tile of kRows rows of head_dim kDim, as the copy engine leaves it: 64 columns after 64 columns.
template <int kRows, int kDim>
struct SwizzledTile {
  static constexpr uint32_t kColumnBytes = uint32_t(kRows) * kRowBytes;
  bf16 elements[kRows * kDim];

  // Rows `first` and on, a multiple of 8, as an operand's address.
  __device__ __forceinline__ uint32_t at(int first = 0) const {
    return shared_address(elements) + uint32_t(first * kRowBytes);
  }
  __device__ __forceinline__ void copy_from(const CUtensorMap& map, Barrier& b, int32_t head,
                                            int32_t token) {
#pragma unroll
    for (int c = 0; c < kDim; c += kTileColumns) {
      copy_box(elements + c * kRows, map, b, c, head, token);
    }
  }
};

// The first of this thread's two rows of a tile of 128; the other is 8 further on.
__device__ __forceinline__ int own_row() {
  return int(threadIdx.x) / kWarp * 16 + int(threadIdx.x) % kWarp / 4;
}

// s [64, kRows of b] = 64 rows of a, from `first` on, times all of b, over head_dim.
template <int kRowsA, int kRowsB, int kDim>
__device__ __forceinline__ void multiply_rows(float (&s)[kRowsB / 8][4],
                                              const SwizzledTile<kRowsA, kDim>& a, int first,
                                              const SwizzledTile<kRowsB, kDim>& b) {
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    product<kRowsB, Major::k, Major::k>(s, operand<Major::k>(a.at(first), step, a.kColumnBytes),
                                        operand<Major::k>(b.at(), step, b.kColumnBytes), step > 0);
  }
}
// sums [64, head_dim] += p [64, kRows] times the tile.
template <int kRows, int kDim>
__device__ __forceinline__ void add_product(float (&sums)[kDim / 8][4],
                                            const uint32_t (&p)[kRows / 16][4],
                                            const SwizzledTile<kRows, kDim>& tile) {
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step) {
    product<kDim, Major::mn>(sums, p[step], operand<Major::mn>(tile.at(), step, tile.kColumnBytes),
                             true);
  }
}

// Scores of queries by rows and keys from `first_key` on: those that are not seen.
template <int kBlocks>
__device__ __forceinline__ void hide(float (&s)[kBlocks][4], int32_t first_key, KeyMask mask,
                                     const Sight (&sights)[2]) {
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int32_t key = first_key + n * 8 + int(threadIdx.x) % 4 * 2 + i % 2;
      if (!sights[i / 2].sees(mask, key)) s[n][i] = kNever;
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
