// Instructions of sm_90a that C++ has no words for: products by a warpgroup (four warps, the first
// of which has a number divisible by 4), copies of boxes of a tensor by the copy engine, barriers
// in shared memory that count both threads and bytes, registers that warps hand each other.
//
// A tile in shared memory is rows of 64 bfloat16 numbers (128 bytes), begins at a multiple of 1024
// bytes, and is swizzled: the 16-byte chunk c of row r stands at chunk c ^ (r % 8). Copies write it
// so and products read it so.
#pragma once
#include <cuda.h>

#include <cstdio>

#include "ops/cuda/tensor_core.h"

namespace elastron::ops::cuda {

// Whether this pass of the compiler can make the code. In images of other architectures a kernel is
// no_hopper_code(), which takes kNoHopperCode bytes of static shared memory: kernels that use these
// instructions take none, so the host can tell (cudaFuncGetAttributes). It is more than the system
// keeps for itself of a block's shared memory (1 KiB), whether that is counted or not.
#if !defined(__CUDACC__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define ELASTRON_HOPPER_CODE 1
#else
#define ELASTRON_HOPPER_CODE 0
#endif
inline constexpr size_t kNoHopperCode = 4096;
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

// A number that all lanes of a warp agree on, so that the compiler knows it.
__device__ __forceinline__ uint32_t same_in_all_lanes(uint32_t x) {
#if defined(__CUDACC__)
  return __shfl_sync(kAllLanes, x, 0);
#else
  return x;  // the emulator finds products on which lanes do not agree
#endif
}

// What a product is told of an operand: where it begins, and the way from 8 rows to the next 8 and
// from 64 columns to the next 64.
__device__ __forceinline__ uint64_t tile_descriptor(uint32_t address, uint32_t next_8_rows,
                                                    uint32_t next_64_columns) {
  constexpr uint64_t kSwizzle128 = uint64_t(1) << 62;
  return kSwizzle128 | uint64_t(next_8_rows >> 4) << 32 | uint64_t(next_64_columns >> 4) << 16 |
         uint64_t(address >> 4 & 0x3fff);
}
// An operand of a product, 16 numbers of the sum at a time, in tiles whose 64 columns each take
// `column_bytes`. Major::k: the sum goes along columns; mn: along rows. Of its descriptor only the
// address changes from step to step, by constants: one warp-wide broadcast of the first step's is
// what the compiler needs to add them up in uniform registers, where products read them.
template <Major kMajor>
class Operand {
 public:
  __device__ __forceinline__ Operand(uint32_t address, uint32_t column_bytes)
      : column_bytes_(column_bytes) {
    const uint64_t first =
        tile_descriptor(address, 8 * kRowBytes, kMajor == Major::k ? 16 : column_bytes);
    low_ = same_in_all_lanes(uint32_t(first));
    high_ = uint32_t(first >> 32);
  }
  // Tiles lie in the first 256 KiB: the sum does not leave the address's bits.
  __device__ __forceinline__ uint64_t step(int step) const {
    const uint32_t bytes = kMajor == Major::k
                               ? uint32_t(step / 4) * column_bytes_ + uint32_t(step % 4) * 32
                               : uint32_t(step) * 16 * kRowBytes;
    return uint64_t(high_) << 32 | (low_ + (bytes >> 4));
  }

 private:
  uint32_t column_bytes_, low_, high_;
};

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
// Only if; not a branch.
__device__ __forceinline__ void barrier_arrive_if(bool arrives, Barrier& b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %1, 0;\n@p mbarrier.arrive.shared::cta.b64 _, [%0];\n}" ::
          "r"(shared_address(&b)),
      "r"(int(arrives))
      : "memory");
}
// Arrives and announces bytes of copies.
__device__ __forceinline__ void barrier_arrive_expect(Barrier& b, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&b)),
               "r"(bytes)
               : "memory");
}
// Until the phase of this parity has ended: the first phase has parity 0. On a new barrier parity 1
// does not wait. `name` says whose wait it is and for what.
#if defined(ELASTRON_CUDA_DEBUG_BARRIERS)
// In a debug build a wait ends: after kMostTries, two seconds at the least, it says its name, and
// the kernel ends with an error.
inline constexpr int kMostTries = 1 << 22, kNanosecondsBetween = 1000;
__device__ __noinline__ void barrier_overdue(const char* name, uint32_t parity) {
  printf(
      "error: %s: block %d, thread %d waited in vain (phase of parity %u): an arrival is missing\n",
      name, int(blockIdx.x), int(threadIdx.x), parity);
  __trap();
}
__device__ __forceinline__ void barrier_wait(Barrier& b, uint32_t parity, const char* name) {
  for (int tries = 0;; ++tries) {
    uint32_t done = 0;
    asm volatile(
        "{\n.reg .pred done;\n"
        "mbarrier.test_wait.parity.shared::cta.b64 done, [%1], %2;\n"
        "selp.u32 %0, 1, 0, done;\n}"
        : "=r"(done)
        : "r"(shared_address(&b)), "r"(parity)
        : "memory");
    if (done != 0) return;
    if (tries == kMostTries) barrier_overdue(name, parity);
    __nanosleep(kNanosecondsBetween);
  }
}
#else
__device__ __forceinline__ void barrier_wait(Barrier& b, uint32_t parity, const char*) {
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
#endif

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

// What the numbers are worked out from stays above the next wait for products. ptxas moves such a
// wait up, above all arithmetic that does not need memory, and that arithmetic would no longer run
// beside the products. So there is a store, which it does not move the wait over, under a condition
// that never holds: no number is negative. Not a branch: products under way at one are serialised.
template <int kNumbers>
__device__ __forceinline__ void before_the_wait(float& unused, const float (&numbers)[kNumbers]) {
  int32_t signs = 0;
#pragma unroll
  for (int i = 0; i < kNumbers; ++i) signs |= __float_as_int(numbers[i]);
  asm volatile(
      "{\n.reg .pred p;\nsetp.lt.s32 p, %0, 0;\n@p st.shared.b32 [%1], %0;\n}" ::"r"(signs),
      "r"(shared_address(&unused))
      : "memory");
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
inline void barrier_arrive_if(bool arrives, Barrier& b) {
  if (arrives) barrier_arrive(b);
}
inline void barrier_arrive_expect(Barrier& b, uint32_t bytes) {
  emulator::barrier_arrive(&b.state, bytes);
}
inline void barrier_wait(Barrier& b, uint32_t parity, const char* name) {
  emulator::barrier_wait(&b.state, parity, name);
}
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
template <int kNumbers>
void before_the_wait(float& unused, const float (&numbers)[kNumbers]) {
  for (const float x : numbers) {
    if (x < 0) unused = x;
  }
}
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
