// What the attention kernels for sm_90a share (docs/attention-kernels.md): two warpgroups, the
// consumers, work on 64 rows of a tile each, and one thread of a third, the producer, has the copy
// engine fill shared memory ahead of them. Device code.
//
// A consumer thread has rows g and g + 8 of its warp's 16, columns 2t and 2t + 1 of every 8
// (tensor_core.h).
#pragma once
#include <limits>

#include "ops/cuda/attention_geometry.h"
#include "ops/cuda/hopper.h"
#include "ops/cuda/routed_attention_hopper.h"

namespace elastron::ops::cuda {

inline constexpr int kConsumers = 2, kConsumerThreads = kConsumers * kWarpgroup;
inline constexpr int kHopperThreads = kConsumerThreads + kWarpgroup;
inline constexpr int kConsumerWarps = kConsumerThreads / kWarp;
static_assert(kHopperRows == kConsumers * 64 && kHopperKeys == kHopperRows);
// Of 65536: the producer has little to keep.
inline constexpr int kProducerRegisters = 72, kConsumerRegisters = 216;
static_assert(kProducerRegisters + kConsumers * kConsumerRegisters <= 65536 / kWarpgroup);

// 64 columns of a tile of 128 rows.
inline constexpr uint32_t kColumnBytes = uint32_t(kHopperRows) * kRowBytes;
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
  __device__ __forceinline__ void init() {
    barrier_init(full, 1);
    barrier_init(empty, kConsumerWarps);
  }
  // By one lane, after all lanes are done with the buffer.
  __device__ __forceinline__ void give_back() {
    if (threadIdx.x % kWarp == 0) barrier_arrive(empty);
  }
};

// What one query sees, with the division done once.
struct RowSight {
  int32_t query, local_begin;
  __device__ __forceinline__ bool sees(KeyMask mask, int32_t sink, int32_t key) const {
    if (mask == KeyMask::causal) return key <= query;
    const bool shown = key < sink || key >= local_begin;
    return key <= query && shown == (mask == KeyMask::shown);
  }
};

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
