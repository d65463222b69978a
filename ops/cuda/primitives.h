// What the kernels share: vector loads, reductions over a warp and a block, dynamic shared memory.
// Device code only.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "core/dtype.h"

namespace elastron::ops::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

// N elements that move as one. 16 bytes are the most that one instruction takes.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T v[N];
};
template <class T>
inline constexpr int kPackOf = 16 / int(sizeof(T));

// Whether p can be read in packs of n elements.
template <class T>
inline bool aligned_for(const T* p, int n) {
  return reinterpret_cast<uintptr_t>(p) % (sizeof(T) * size_t(n)) == 0;
}

template <class T>
__device__ __forceinline__ T* dynamic_shared_memory() {
#if defined(__CUDACC__)
  extern __shared__ __align__(128) unsigned char elastron_shared[];
  return reinterpret_cast<T*>(elastron_shared);
#else
  return reinterpret_cast<T*>(::elastron::emulator::dynamic_shared);
#endif
}

// Over `kLanes` neighbouring lanes (a power of two); every lane gets the result. The order is
// fixed, and the same seen from every lane: addition commutes.
template <int kLanes = kWarp, class A>
__device__ __forceinline__ A warp_sum(A x) {
#pragma unroll
  for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) x += __shfl_xor_sync(kAllLanes, x, lanes);
  return x;
}
template <int kLanes = kWarp, class A>
__device__ __forceinline__ A warp_max(A x) {
#pragma unroll
  for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) {
    const A other = __shfl_xor_sync(kAllLanes, x, lanes);
    x = other > x ? other : x;
  }
  return x;
}

// Over a block of kThreads; every thread gets the result. `scratch`: kThreads / 32 numbers of
// shared memory, free again for the next call after the next barrier only.
template <int kThreads, class A>
__device__ __forceinline__ A block_sum(A x, A* scratch) {
  x = warp_sum(x);
  if constexpr (kThreads == kWarp) return x;
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = x;
  __syncthreads();
  A sum = 0;
#pragma unroll
  for (int i = 0; i < kThreads / kWarp; ++i) sum += scratch[i];
  return sum;
}

}  // namespace elastron::ops::cuda
