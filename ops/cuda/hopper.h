// Instructions of sm_90a that C++ has no words for: products by a warpgroup (four warps, the first
// of which has a number divisible by 4), copies of boxes of a tensor by the copy engine, barriers
// in shared memory that count both threads and bytes, registers that warps hand each other.
//
// A tile in shared memory is rows of 64 bfloat16 numbers (128 bytes), begins at a multiple of 1024
// bytes, and is swizzled: the 16-byte chunk c of row r stands at chunk c ^ (r % 8). Copies write it
// so and products read it so.
#pragma once
#include <cuda.h>

#include "ops/cuda/tensor_core.h"

namespace elastron::ops::cuda {

// Whether this pass of the compiler can make the code. In images of other architectures a kernel is
// no_hopper_code(), which takes kNoHopperCode bytes of static shared memory: kernels that use these
// instructions take none, so the host can tell (cudaFuncGetAttributes).
#if !defined(__CUDACC__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define ELASTRON_HOPPER_CODE 1
#else
#define ELASTRON_HOPPER_CODE 0
#endif
inline constexpr size_t kNoHopperCode = 64;
__device__ inline void no_hopper_code() {
#if defined(__CUDACC__)
  __shared__ volatile unsigned char mark[kNoHopperCode];
  mark[threadIdx.x % kNoHopperCode] = 1;
  __trap();
#endif
}

inline constexpr int kWarpgroup = 128;
inline constexpr int kTileColumns = 64, kTileAlignment = 1024;
inline constexpr int kRowBytes = kTileColumns * 2;

// A barrier in shared memory. Its phase ends when the expected number of threads has arrived and
// all bytes that were announced are there; then the next begins.
struct alignas(8) Barrier {
  uint64_t state;
};

// Which numbers of a tile are neighbours in memory, seen from the product: those over which it
// sums (the tile's rows are rows of a, or columns of b), or those it keeps apart.
enum class Major { k, mn };

// What a product is told of an operand: where it begins, and the way from 8 rows to the next 8 and
// from 64 columns to the next 64.
__device__ __forceinline__ uint64_t tile_descriptor(uint32_t address, uint32_t next_8_rows,
                                                    uint32_t next_64_columns) {
  constexpr uint64_t kSwizzle128 = uint64_t(1) << 62;
  return kSwizzle128 | uint64_t(next_8_rows >> 4) << 32 | uint64_t(next_64_columns >> 4) << 16 |
         uint64_t(address >> 4 & 0x3fff);
}
// Step `step` of 16 of the sum over an operand whose 64 columns each take `column_bytes`. Major::k:
// the sum goes along columns; mn: along rows.
template <Major kMajor>
__device__ __forceinline__ uint64_t operand(uint32_t address, int step, uint32_t column_bytes) {
  if constexpr (kMajor == Major::k) {
    return tile_descriptor(address + uint32_t(step / 4) * column_bytes + uint32_t(step % 4) * 32,
                           8 * kRowBytes, 16);
  } else {
    return tile_descriptor(address + uint32_t(step) * 16 * kRowBytes, 8 * kRowBytes, column_bytes);
  }
}

#if defined(__CUDACC__)

// --- Barriers ----------------------------------------------------------------------------------

// By one thread; the others, and the copy engine, see it after barrier_init_fence() and a barrier
// of the block.
__device__ __forceinline__ void barrier_init(Barrier& b, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&b)), "r"(arrivals)
               : "memory");
}
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(Barrier& b) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&b)) : "memory");
}
// Arrives and announces bytes of copies.
__device__ __forceinline__ void barrier_arrive_expect(Barrier& b, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&b)),
               "r"(bytes)
               : "memory");
}
// Until the phase of this parity has ended: the first phase has parity 0. On a new barrier parity 1
// does not wait.
__device__ __forceinline__ void barrier_wait(Barrier& b, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra ended;\n"
      "bra again;\n"
      "ended:\n"
      "}" ::"r"(shared_address(&b)),
      "r"(parity)
      : "memory");
}

// Barriers 1 to 15 of the block's own, for `threads` threads of whole warps; `arrive` does not
// wait. (Barrier 0 is __syncthreads.)
__device__ __forceinline__ void named_barrier_sync(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ __forceinline__ void named_barrier_arrive(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// --- Copies ------------------------------------------------------------------------------------

// The box of the map that begins at (c0, c1, c2), innermost first, by one thread; its bytes count
// for `b`. What lies outside the tensor arrives as zeros.
__device__ __forceinline__ void copy_box(void* dst, const CUtensorMap& map, Barrier& b, int32_t c0,
                                         int32_t c1, int32_t c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(dst)),
      "l"(&map), "r"(shared_address(&b)), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
}

// What this thread has written to shared memory is there for copies and products, after a barrier
// between it and the thread that issues them.
__device__ __forceinline__ void fence_for_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// --- Registers ---------------------------------------------------------------------------------

// By all warps of a warpgroup. What some give back others can take; they wait for it.
template <int kRegisters>
__device__ __forceinline__ void keep_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// --- Products ----------------------------------------------------------------------------------
//
// d [64, kN] (+)= a [64, 16] b [16, kN]: warp w of the group has rows 16 w to 16 w + 15, in the
// fragments of mma (tensor_core.h): d[n] is columns 8 n to 8 n + 7. A product runs beside the
// program. Its sums, and operands in registers, are not to be touched until it has been waited for;
// nor its operands in shared memory to be written.

// Before the first product, and after d or a were written by the program: these.
template <class... Arrays>
__device__ __forceinline__ void products_begin(Arrays&... arrays);
// Of the groups of products that were ended by products_commit(), all but the last kLeft are done.
// `arrays` are sums that are there now: the compiler is not to read them earlier.
template <int kLeft, class... Arrays>
__device__ __forceinline__ void products_wait(Arrays&... arrays);

template <int kBlocks>
__device__ __forceinline__ void keep_in_order(float (&d)[kBlocks][4]) {
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(d[n][i])::"memory");
  }
}
template <int kSteps>
__device__ __forceinline__ void keep_in_order(uint32_t (&a)[kSteps][4]) {
#pragma unroll
  for (int n = 0; n < kSteps; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(a[n][i])::"memory");
  }
}
template <class... Arrays>
__device__ __forceinline__ void products_begin(Arrays&... arrays) {
  (keep_in_order(arrays), ...);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void products_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kLeft, class... Arrays>
__device__ __forceinline__ void products_wait(Arrays&... arrays) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
  (keep_in_order(arrays), ...);
}

#define ELASTRON_SUMS_4(n) "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])
#define ELASTRON_SUMS_16(n) \
  ELASTRON_SUMS_4(n), ELASTRON_SUMS_4(n + 1), ELASTRON_SUMS_4(n + 2), ELASTRON_SUMS_4(n + 3)
#define ELASTRON_SUMS_32 ELASTRON_SUMS_16(0), ELASTRON_SUMS_16(4)
#define ELASTRON_SUMS_64 ELASTRON_SUMS_32, ELASTRON_SUMS_16(8), ELASTRON_SUMS_16(12)
#define ELASTRON_NAMES_32                                             \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, " \
  "%15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define ELASTRON_NAMES_64                                                                        \
  ELASTRON_NAMES_32                                                                              \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, " \
  "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// a and b from shared memory. Not `add`: d is overwritten.
template <int kN, Major kA, Major kB>
__device__ __forceinline__ void product(float (&d)[kN / 8][4], uint64_t a, uint64_t b, bool add) {
  static_assert(kN == 64 || kN == 128);
  constexpr int kTurnedA = kA == Major::mn, kTurnedB = kB == Major::mn;
  if constexpr (kN == 64) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" ELASTRON_NAMES_32
        "}, %32, %33, p, 1, 1, %35, %36;\n}"
        : ELASTRON_SUMS_32
        : "l"(a), "l"(b), "r"(int(add)), "n"(kTurnedA), "n"(kTurnedB));
  } else {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" ELASTRON_NAMES_64
        "}, %64, %65, p, 1, 1, %67, %68;\n}"
        : ELASTRON_SUMS_64
        : "l"(a), "l"(b), "r"(int(add)), "n"(kTurnedA), "n"(kTurnedB));
  }
}
// a as fragments of the same rows.
template <int kN, Major kB>
__device__ __forceinline__ void product(float (&d)[kN / 8][4], const uint32_t (&a)[4], uint64_t b,
                                        bool add) {
  static_assert(kN == 64 || kN == 128);
  constexpr int kTurnedB = kB == Major::mn;
  if constexpr (kN == 64) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" ELASTRON_NAMES_32
        "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}"
        : ELASTRON_SUMS_32
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(add)), "n"(kTurnedB));
  } else {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" ELASTRON_NAMES_64
        "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;\n}"
        : ELASTRON_SUMS_64
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(add)), "n"(kTurnedB));
  }
}

#undef ELASTRON_SUMS_4
#undef ELASTRON_SUMS_16
#undef ELASTRON_SUMS_32
#undef ELASTRON_SUMS_64
#undef ELASTRON_NAMES_32
#undef ELASTRON_NAMES_64

#else

inline uint32_t shared_address(const void* p) { return emulator::shared_address(p); }
inline void barrier_init(Barrier& b, uint32_t arrivals) {
  emulator::barrier_init(&b.state, arrivals);
}
inline void barrier_init_fence() {}
inline void barrier_arrive(Barrier& b) { emulator::barrier_arrive(&b.state, 0); }
inline void barrier_arrive_expect(Barrier& b, uint32_t bytes) {
  emulator::barrier_arrive(&b.state, bytes);
}
inline void barrier_wait(Barrier& b, uint32_t parity) { emulator::barrier_wait(&b.state, parity); }
inline void named_barrier_sync(int barrier, int threads) {
  emulator::named_barrier(barrier, threads, true);
}
inline void named_barrier_arrive(int barrier, int threads) {
  emulator::named_barrier(barrier, threads, false);
}
inline void copy_box(void* dst, const CUtensorMap& map, Barrier& b, int32_t c0, int32_t c1,
                     int32_t c2) {
  emulator::copy_box(dst, &map, &b.state, {c0, c1, c2});
}
inline void fence_for_async() {}
template <int kRegisters>
void keep_registers() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
}
template <int kRegisters>
void take_registers() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
}
template <class... Arrays>
void products_begin(Arrays&...) {}
inline void products_commit() { emulator::commit_products(); }
template <int kLeft, class... Arrays>
void products_wait(Arrays&...) {
  emulator::wait_for_products(kLeft);
}
template <int kN, Major kA, Major kB>
void product(float (&d)[kN / 8][4], uint64_t a, uint64_t b, bool add) {
  emulator::product({.sums = &d[0][0],
                     .a_registers = nullptr,
                     .a = a,
                     .b = b,
                     .columns = kN,
                     .add = add,
                     .a_turned = kA == Major::mn,
                     .b_turned = kB == Major::mn});
}
template <int kN, Major kB>
void product(float (&d)[kN / 8][4], const uint32_t (&a)[4], uint64_t b, bool add) {
  emulator::product({.sums = &d[0][0],
                     .a_registers = a,
                     .a = 0,
                     .b = b,
                     .columns = kN,
                     .add = add,
                     .a_turned = false,
                     .b_turned = kB == Major::mn});
}

#endif

}  // namespace elastron::ops::cuda
