// The machine's own bfloat16 peak: dot products of pairs with float sums (vdpbf16ps), probed in the
// same process as what is compared with it, for the reasons given in bench/fma_peak.h.
#pragma once
#include <algorithm>

#include "bench/fma_peak.h"

namespace elastron::bench {

#if defined(__AVX512BF16__)

inline constexpr bool kHasDotProduct = true;

// FLOP/s of one core, registers only, best of short windows.
inline double dot_peak() {
  constexpr int kChains = 12, kSteps = 200'000, kFlopsEach = 2 * 32;
  double best = 0;
  for (int window = 0; window < 20; ++window) {
    __m512 sums[kChains];
    for (int c = 0; c < kChains; ++c) sums[c] = _mm512_set1_ps(float(c));
    __m512i x = _mm512_set1_epi16(0x3f80), y = _mm512_set1_epi16(0x3c00);  // 1.0 and 2^-7
    asm volatile("" : "+v"(x), "+v"(y));
    const double start = thread_seconds();
    for (int i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
      for (int c = 0; c < kChains; ++c)
        sums[c] = _mm512_dpbf16_ps(sums[c], __m512bh(x), __m512bh(y));
    }
    __m512 total = _mm512_setzero_ps();
    for (const __m512& sum : sums) total = _mm512_add_ps(total, sum);
    asm volatile("" : "+v"(total));
    best = std::max(best, double(kFlopsEach) * kChains * kSteps / (thread_seconds() - start));
  }
  return best;
}

#else

inline constexpr bool kHasDotProduct = false;
inline double dot_peak() { return 0; }

#endif

}  // namespace elastron::bench
