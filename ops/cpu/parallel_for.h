// Loops over rows with OpenMP. Work is split by index only, so results do not depend on the number
// of threads as long as each index writes its own place.
//
// The inner loops of the back ends stand in plain functions, not in the lambdas given to these: GCC
// reads a lambda's captures anew in every lane of an `omp simd` loop (gathers; three times slower).
#pragma once
#include <omp.h>

#include <cstdint>

namespace elastron::ops::cpu {

// Below this many elements a loop stays on the calling thread: waking threads costs more.
inline constexpr int64_t kSerialElements = 16384;

// f(begin, end) over [0, count) in one contiguous range per thread.
template <class F>
void parallel_ranges(int64_t count, int64_t elements_each, const F& f) {
  if (count * elements_each < kSerialElements || omp_in_parallel() != 0) {
    if (count > 0) f(int64_t(0), count);
    return;
  }
#pragma omp parallel
  {
    const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
    const int64_t begin = count * thread / threads, end = count * (thread + 1) / threads;
    if (begin < end) f(begin, end);
  }
}

template <class F>
void parallel_rows(int64_t rows, int64_t elements_each, const F& f) {
  parallel_ranges(rows, elements_each, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) f(row);
  });
}

}  // namespace elastron::ops::cpu
