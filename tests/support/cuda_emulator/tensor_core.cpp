// Instructions that a warp executes together, with the fragments of the PTX ISA: a lane gives its
// part, and computes its part of the result from what the others gave.
#include <cuda_runtime.h>

#include "tests/support/cuda_emulator/faults.h"
#include "tests/support/cuda_emulator/scheduler.h"

namespace elastron::emulator {

namespace {

constexpr unsigned kAll = 0xffffffffu;

// Element `i` of the two bfloat16 numbers of a register.
float half(uint32_t pair, unsigned i) {
  return std::bit_cast<float>(i == 0 ? pair << 16 : pair & 0xffff0000u);
}

void check_aligned(const void* p, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(p) % bytes != 0) die("a vector load is not aligned");
}
void check_shared(const void* p, size_t bytes) {
  const auto* at = static_cast<const unsigned char*>(p);
  if (at < dynamic_shared || at + bytes > dynamic_shared + dynamic_shared_bytes) {
    die("an address is not in the block's shared memory");
  }
  check_aligned(p, bytes);
}

}  // namespace

void mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  struct Part {
    uint32_t a[4], b[2];
  } mine;
  std::memcpy(mine.a, a, sizeof a);
  std::memcpy(mine.b, b, sizeof b);
  const auto* all = post(kAll, &mine, sizeof mine);
  const auto part = [&](unsigned lane) { return reinterpret_cast<const Part*>(all[lane]); };
  hang_if_planted(Faulty::mma);
  if (goes_wrong(Faulty::mma, Fault::tile)) return;
  const unsigned g = current.lane / 4, t = current.lane % 4;
  // Row g, then g + 8; of each columns 2t and 2t + 1.
  for (unsigned k = 0; k < 16; ++k) {
    // Of a, columns 0 to 7 are in registers 0 and 1, the others in 2 and 3; b's rows likewise.
    const unsigned upper = k / 8, holder = k % 8 / 2, within = k % 2;
    const float b0 = half(part(8 * t + holder)->b[upper], within);
    const float b1 = half(part(8 * t + 4 + holder)->b[upper], within);
    const Part* rows = part(4 * g + holder);
    const float a0 = half(rows->a[2 * upper], within), a1 = half(rows->a[2 * upper + 1], within);
    d[0] += a0 * b0;
    d[1] += a0 * b1;
    d[2] += a1 * b0;
    d[3] += a1 * b1;
  }
}

void ldmatrix_x4(uint32_t (&d)[4], const void* row, bool transposed) {
  check_shared(row, 16);
  const auto* all = post(kAll, &row, sizeof row);
  const unsigned g = current.lane / 4, t = current.lane % 4;
  for (unsigned m = 0; m < 4; ++m) {
    const auto element = [&](unsigned r, unsigned column) {
      const unsigned char* start;
      std::memcpy(&start, all[8 * m + r], sizeof start);
      uint16_t bits;
      std::memcpy(&bits, start + 2 * column, sizeof bits);
      return uint32_t(bits);
    };
    d[m] = transposed ? element(2 * t, g) | element(2 * t + 1, g) << 16
                      : element(g, 2 * t) | element(g, 2 * t + 1) << 16;
  }
}

void copy_async(void* dst, const void* src, size_t bytes, bool valid) {
  static const unsigned char zeros[16] = {};
  check_shared(dst, bytes);
  if (valid) check_aligned(src, bytes);
  if (goes_wrong(Faulty::mma, Fault::stale)) return;
  defer_copy(dst, valid ? src : zeros, bytes);
}

}  // namespace elastron::emulator
