// Sums over rows, per column: over fixed blocks of rows, then over blocks in order, so that the
// result is the same for any thread count.
#pragma once
#include <algorithm>
#include <vector>

#include "core/dtype.h"
#include "ops/cpu/parallel_for.h"

namespace elastron::ops::cpu {

// sums += x, [n]
template <class T>
void add_row(const T* x, accumulator_t<T>* sums, int64_t n) {
  using A = accumulator_t<T>;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sums[i] += A(x[i]);
}

// out [columns] += sum over rows; add_terms(row, sums) adds one row's terms to sums [columns].
template <class A, class F>
void add_column_sums(int64_t rows, int64_t columns, A* out, const F& add_terms) {
  constexpr int64_t kBlock = 256;
  const int64_t blocks = (rows + kBlock - 1) / kBlock;
  std::vector<A> partial(size_t(blocks * columns), A(0));
  parallel_rows(blocks, kBlock * columns, [&](int64_t b) {
    A* sums = partial.data() + b * columns;
    for (int64_t row = b * kBlock; row < std::min(rows, (b + 1) * kBlock); ++row) {
      add_terms(row, sums);
    }
  });
  for (int64_t b = 0; b < blocks; ++b) {
    add_row(partial.data() + b * columns, out, columns);
  }
}

}  // namespace elastron::ops::cpu
