// Loops over rows with OpenMP. Work is split by index only, so results do not depend on the number
// of threads as long as each index writes its own place.
//
// The inner loops of the back ends stand in plain functions, not in the lambdas given to these: GCC
// reads a lambda's captures anew in every lane of an `omp simd` loop (gathers; three times slower).
#pragma once
#include <omp.h>

#include <cstdint>
#include <span>

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

// The same where an index has so much work of its own: ends[i] is that of all up to and with i, in
// elements.
template <class F>
void parallel_shares(std::span<const int64_t> ends, const F& f) {
  const auto count = int64_t(ends.size());
  if (count == 0) return;
  const int64_t all = ends.back();
  if (all < kSerialElements || omp_in_parallel() != 0) return f(int64_t(0), count);
#pragma omp parallel
  {
    const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
    // An index is its whose share its middle lies in.
    const auto first_of = [&](int64_t t) {
      int64_t i = 0;
      for (int64_t before = 0; i < count; before = ends[size_t(i++)]) {
        if ((before + ends[size_t(i)]) * threads >= 2 * all * t) break;
      }
      return i;
    };
    const int64_t begin = first_of(thread),
                  end = thread + 1 == threads ? count : first_of(thread + 1);
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
