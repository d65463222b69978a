// The machine's own float FMA peak, probed in the same process: the clock differs from what the
// system reports and from minute to minute, and other jobs share the machine.
#pragma once
#include <algorithm>
#include <ctime>

#include "ops/cpu/simd.h"

namespace elastron::bench {

// CPU time of the calling thread, in seconds: what a shared machine leaves comparable.
inline double thread_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// FLOP/s of one core, registers only, best of short windows.
inline double fma_peak() {
  using ops::cpu::vec;
  constexpr int kChains = 12, kSteps = 200'000;
  double best = 0;
  for (int window = 0; window < 20; ++window) {
    vec<float> sums[kChains];
    for (int c = 0; c < kChains; ++c) {
      sums[c] = vec<float>{} + float(c);  // all different, or the compiler computes one of them
    }
    vec<float> x = vec<float>{} + 0.999f, y = vec<float>{} + 0.001f;
    asm volatile("" : "+v"(x), "+v"(y));
    const double start = thread_seconds();
    for (int i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
      for (int c = 0; c < kChains; ++c) sums[c] = ops::cpu::multiply_add<float>(sums[c], x, y);
    }
    // Consumed behind the loop: inside it, the sums would be stored in every step.
    vec<float> total = vec<float>{};
    for (const vec<float>& sum : sums) total += sum;
    asm volatile("" : "+v"(total));
    const double seconds = thread_seconds() - start;
    best = std::max(best, 2.0 * kChains * kSteps * ops::cpu::kLanes<float> / seconds);
  }
  return best;
}

}  // namespace elastron::bench
