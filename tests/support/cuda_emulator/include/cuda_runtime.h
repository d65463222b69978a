// Stands in for the CUDA runtime where there is no GPU, for tests: kernels of ops/cuda are compiled
// by the host compiler and run on the CPU, a block at a time, its threads as fibers.
//
// What it checks beyond results:
//   - "device memory" is readable only while a kernel or a copy runs: the host that touches it
//     crashes;
//   - every block of memory ends at a page that nobody may touch, and starts out as NaN;
//   - a barrier that some thread of the block never reaches ends the test with the kernel's name;
//   - warps run in another order after each barrier, each to the next one before others, so that a
//     missing one shows;
//   - cp.async copies arrive when they are waited for, not before;
//   - sm_90's copies arrive at any time after they are issued, its products read their operands
//     when they are waited for and give NaN until then (hopper.cpp).
//   - what streams do to memory without an event that orders it ends the test (memory.h);
//   - a call that a capture does not allow spoils it.
// It has one device, runs everything at once, and knows no time.
#pragma once
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __shared__ static
#define __align__(n) alignas(n)
#define __grid_constant__
#define CUDART_VERSION 13000

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

struct CUstream_st;

namespace elastron::emulator {

struct Thread {  // the running one
  dim3 index, block;
  unsigned lane = 0, warp = 0;
};
extern Thread current;
extern dim3 block_dim, grid_dim;
extern unsigned char* dynamic_shared;
extern size_t dynamic_shared_bytes;

void block_barrier();
// What the lanes of `mask` posted, by lane, valid until this one's next exchange; all of them must
// call it. `size` at most kMostPosted.
constexpr size_t kMostPosted = 64;
const unsigned char (*post(unsigned mask, const void* mine, size_t size))[kMostPosted];
// The same, copied to an array.
void exchange(unsigned mask, const void* mine, void* all, size_t size);
void run_kernel(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread);
// The same as work of a stream (memory.h), counted as a launch. `kernel`: the function, for messages.
void launch_kernel(dim3 grid, dim3 block, size_t shared_bytes, CUstream_st* stream,
                   const void* kernel, std::function<void()> thread);
void defer_copy(void* dst, const void* src, size_t bytes);
void commit_copies();
void finish_copies(int groups_left);

// tensor_core.cpp; ops/cuda/tensor_core.h says what they do.
void mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void ldmatrix_x4(uint32_t (&d)[4], const void* row, bool transposed);
void copy_async(void* dst, const void* src, size_t bytes, bool valid);

// hopper.cpp; ops/cuda/hopper.h says what they do.
uint32_t shared_address(const void* p);
void barrier_init(uint64_t* barrier, uint32_t arrivals);
void barrier_arrive(uint64_t* barrier, uint32_t bytes);
void barrier_wait(uint64_t* barrier, uint32_t parity, const char* name);
void named_barrier(int barrier, int threads, bool wait);
void copy_box(void* dst, const void* map, uint64_t* barrier, std::array<int32_t, 3> at);
struct Product {
  float* sums;  // of this lane: [columns / 8][4]
  const uint32_t* a_registers;
  uint64_t a, b;  // descriptors
  int columns;
  bool add, a_turned, b_turned;
};
void product(const Product& mine);
void commit_products();
void wait_for_products(int groups_left);

}  // namespace elastron::emulator

inline const dim3& threadIdx = ::elastron::emulator::current.index;
inline const dim3& blockIdx = ::elastron::emulator::current.block;
inline const dim3& blockDim = ::elastron::emulator::block_dim;
inline const dim3& gridDim = ::elastron::emulator::grid_dim;

inline void __syncthreads() { ::elastron::emulator::block_barrier(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  char none = 0, all[32];
  ::elastron::emulator::exchange(mask, &none, all, 1);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  T all[32];
  ::elastron::emulator::exchange(mask, &value, all, sizeof(T));
  const unsigned lane = ::elastron::emulator::current.lane;
  return all[(lane & ~unsigned(width - 1)) + (unsigned(source) & unsigned(width - 1))];
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  T all[32];
  ::elastron::emulator::exchange(mask, &value, all, sizeof(T));
  const unsigned lane = ::elastron::emulator::current.lane, other = lane ^ unsigned(lanes);
  return other / unsigned(width) == lane / unsigned(width) ? all[other] : value;
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  T all[32];
  ::elastron::emulator::exchange(mask, &value, all, sizeof(T));
  const unsigned lane = ::elastron::emulator::current.lane;
  return lane % unsigned(width) + delta < unsigned(width) ? all[lane + delta] : value;
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  int all[32] = {};
  ::elastron::emulator::exchange(mask, &predicate, all, sizeof(int));
  unsigned bits = 0;
  for (unsigned i = 0; i < 32; ++i) bits |= (mask >> i & 1) && all[i] ? 1u << i : 0u;
  return bits;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) == mask;
}
inline void __threadfence() {}
inline int __popc(unsigned bits) { return std::popcount(bits); }
template <class T>
T __ldg(const T* p) {
  return *p;
}
// One thread runs at a time: a plain operation is atomic.
template <class T, class U>
T atomicAdd(T* p, U value) {
  const T old = *p;
  *p = T(old + T(value));
  return old;
}
template <class T, class U>
T atomicExch(T* p, U value) {
  return std::exchange(*p, T(value));
}
template <class T, class U>
T atomicAnd(T* p, U value) {
  const T old = *p;
  *p = old & T(value);
  return old;
}
template <class T, class U>
T atomicOr(T* p, U value) {
  const T old = *p;
  *p = old | T(value);
  return old;
}
template <class T, class U>
T atomicMax(T* p, U value) {
  const T old = *p;
  *p = old > T(value) ? old : T(value);
  return old;
}

// --- The runtime's calls that core/cuda makes
// ------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorDevicesUnavailable = 46,
  cudaErrorNoDevice = 100,
  cudaErrorECCUncorrectable = 214,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchTimeout = 702,
  cudaErrorHardwareStackError = 714,
  cudaErrorIllegalInstruction = 715,
  cudaErrorMisalignedAddress = 716,
  cudaErrorNotReady = 600,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorCapturedEvent = 907,
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
constexpr unsigned cudaEventDisableTiming = 2, cudaStreamNonBlocking = 1;
struct CUstream_st;
struct CUevent_st;
struct CUmemPoolHandle_st;
using cudaStream_t = CUstream_st*;
using cudaEvent_t = CUevent_st*;
using cudaMemPool_t = CUmemPoolHandle_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
struct cudaUUID_t {
  char bytes[16];
};
struct cudaDeviceProp {
  char name[256];
  cudaUUID_t uuid;
  int major, minor, multiProcessorCount;
  size_t totalGlobalMem, sharedMemPerBlockOptin;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

const char* cudaGetErrorString(cudaError_t);
const char* cudaGetErrorName(cudaError_t);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int*);
cudaError_t cudaSetDevice(int);
cudaError_t cudaGetDevice(int*);
enum cudaDeviceAttr {
  cudaDevAttrClockRate,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
  cudaDevAttrMultiProcessorCount
};
cudaError_t cudaDeviceGetAttribute(int*, cudaDeviceAttr, int);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int);
cudaError_t cudaDriverGetVersion(int*);
cudaError_t cudaRuntimeGetVersion(int*);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t*, unsigned, int);
cudaError_t cudaDeviceGetStreamPriorityRange(int*, int*);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventSynchronize(cudaEvent_t);
cudaError_t cudaEventQuery(cudaEvent_t);
cudaError_t cudaEventElapsedTime(float*, cudaEvent_t, cudaEvent_t);
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t*, int);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*);
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long);
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
cudaError_t cudaGraphDestroy(cudaGraph_t);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t);
cudaError_t cudaMallocAsync(void**, size_t, cudaStream_t);
cudaError_t cudaFreeAsync(void*, cudaStream_t);
cudaError_t cudaMallocHost(void**, size_t);
cudaError_t cudaFreeHost(void*);
cudaError_t cudaMemGetInfo(size_t*, size_t*);
cudaError_t cudaMemcpyAsync(void*, const void*, size_t, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemcpy2DAsync(void*, size_t, const void*, size_t, size_t, size_t, cudaMemcpyKind,
                              cudaStream_t);
cudaError_t cudaMemsetAsync(void*, int, size_t, cudaStream_t);
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int);
struct cudaFuncAttributes {
  size_t sharedSizeBytes;
};
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void*);
constexpr unsigned cudaEnableDefault = 0;
enum cudaDriverEntryPointQueryResult {
  cudaDriverEntryPointSuccess = 0,
  cudaDriverEntryPointSymbolNotFound = 1,
};
cudaError_t cudaGetDriverEntryPointByVersion(const char*, void**, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult*);

template <class... Parameters>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void (*)(Parameters...), int,
                                                          size_t) {
  *blocks = 1;
  return cudaSuccess;
}
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  // A copy of the arguments, as a launch takes them.
  ::elastron::emulator::launch_kernel(
      config->gridDim, config->blockDim, config->dynamicSmemBytes, config->stream,
      reinterpret_cast<const void*>(kernel),
      [kernel, arguments = std::tuple<Parameters...>(std::forward<Arguments>(arguments)...)] {
        std::apply(kernel, arguments);
      });
  return cudaSuccess;
}
