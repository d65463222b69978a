// Instructions of sm_80 and newer that C++ has no words for: products of small matrices by a warp,
// loads of their fragments from shared memory, copies into shared memory in the background. All
// lanes of the warp take part in the first two.
//
// Fragments, with g = lane / 4 and t = lane % 4; a register holds two elements, the first in its
// low half:
//   a 16 x 16: {g, 2t}, {g + 8, 2t}, {g, 2t + 8}, {g + 8, 2t + 8}, each with the next column
//   b 16 x 8:  {2t, g}, {2t + 8, g}, each with the next row
//   d 16 x 8:  (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
#pragma once
#include "ops/cuda/primitives.h"
#if !defined(__CUDACC__)
#include <emulated_math.h>
#endif

namespace elastron::ops::cuda {

#if defined(__CUDACC__)

// d += a b
__device__ __forceinline__ void mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4],
                                               const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return uint32_t(__cvta_generic_to_shared(p));
}

// Four 8 x 8 matrices; lanes 8 i to 8 i + 7 give the rows of matrix i, 16 bytes each and aligned.
// d[i]: row g, columns 2t and 2t + 1 of matrix i; _trans: rows 2t and 2t + 1, column g.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&d)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&d)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(shared_address(row))
               : "memory");
}

// 16 (4) bytes from global to shared memory, both aligned, or zeros where not `valid`: `src` is not
// read then.
__device__ __forceinline__ void cp_async_16(void* dst, const void* src, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(dst)), "l"(src),
               "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void cp_async_4(void* dst, const void* src, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(dst)), "l"(src),
               "r"(valid ? 4 : 0)
               : "memory");
}
// A thread waits for its own copies, all but the last `kLeft` groups; other threads' need a
// barrier.
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kLeft>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

// Two numbers rounded to bfloat16, `low` in the low half.
__device__ __forceinline__ uint32_t packed_bf16(float low, float high) {
  uint32_t d;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
  return d;
}
// One instruction; 2^-inf = 0, and results below the smallest normal number are 0.
__device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// Of a probability, or its gradient, where the query sees the key or does not.
__device__ __forceinline__ float where_seen(bool seen, float x) { return seen ? x : 0.0f; }

#else

inline void mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulator::mma_bf16_16816(d, a, b);
}
inline void ldmatrix_x4(uint32_t (&d)[4], const void* row) { emulator::ldmatrix_x4(d, row, false); }
inline void ldmatrix_x4_trans(uint32_t (&d)[4], const void* row) {
  emulator::ldmatrix_x4(d, row, true);
}
inline void cp_async_16(void* dst, const void* src, bool valid) {
  emulator::copy_async(dst, src, 16, valid);
}
inline void cp_async_4(void* dst, const void* src, bool valid) {
  emulator::copy_async(dst, src, 4, valid);
}
inline void cp_async_commit() { emulator::commit_copies(); }
template <int kLeft>
void cp_async_wait() {
  emulator::finish_copies(kLeft);
}
inline uint32_t packed_bf16(float low, float high) {
  return uint32_t(bf16(low).bits) | uint32_t(bf16(high).bits) << 16;
}
inline float fast_exp2(float x) { return emulator::exp2(x); }
inline float where_seen(bool seen, float x) { return emulator::where_seen(seen, x); }

#endif

}  // namespace elastron::ops::cuda
