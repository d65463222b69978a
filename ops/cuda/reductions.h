// Reductions: sums, of squares too, finiteness, and sums over rows. The order of additions is fixed by
// the shapes alone, so that repeats give the same bits. Device pointers.
#pragma once
#include <cstdint>

#include "core/ceil_div.h"
#include "core/cuda/stream.h"
#include "core/dtype.h"
#include "core/meta_device.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

// Elements that a block of threads adds up.
inline constexpr int64_t kSquaresPerBlock = 256 * 32;
constexpr int64_t squares_blocks(int64_t n) { return ceil_div(n, kSquaresPerBlock); }
struct SquaresPart {
  const void* x;         // [count] of T
  int64_t count, block;  // at least one; squares_blocks() of the parts before it
};
inline constexpr int64_t kSquaresLaunches = 3;
// *sum = sum of x^2 of all parts [count], which have `blocks` together: over blocks, over a part's
// blocks, over the parts in their order. scratch [count + blocks]. All pointers are the device's.
template <class T>
void sum_of_squares(const SquaresPart* parts, int64_t count, int64_t blocks, double* scratch,
                    double* sum, Stream stream);
// *sum of x [n].
void sum(const double* x, int64_t n, double* sum, Stream stream);
// *finite = 1 where all are finite, else 0.
template <class T>
void all_finite(const T* x, int64_t n, int32_t* finite, Stream stream);

constexpr int64_t rows_per_block(int64_t rows) {
  constexpr int64_t kLeastRows = 64, kMostRowBlocks = 32768;
  const int64_t each = ceil_div(rows, kMostRowBlocks);
  return each > kLeastRows ? each : kLeastRows;
}
// Numbers of scratch for column sums of [rows, columns].
constexpr int64_t column_sums_scratch(int64_t rows, int64_t columns) {
  return ceil_div(rows, rows_per_block(rows)) * columns;
}
// Of column sums over what is `read`: the parts, and their sum.
inline OpCost column_sums_cost(const char* name, double read, int64_t rows, int64_t columns) {
  const bool empty = rows == 0 || columns == 0;
  return {.name = name, .bytes = read, .launches = empty ? 0 : 2};
}
// out [columns] += sum over rows of x [rows, columns].
template <class T>
void add_column_sums(const T* x, int64_t rows, int64_t columns, accumulator_t<T>* scratch,
                     accumulator_t<T>* out, Stream stream);
// dw [n] += sum over rows of dy x inv_rms: the weight gradient of RMSNorm.
template <class T>
void add_rms_norm_weight_gradient(const T* dy, const T* x, const accumulator_t<T>* inv_rms,
                                  int64_t rows, int64_t n, accumulator_t<T>* scratch,
                                  accumulator_t<T>* dw, Stream stream);

}  // namespace elastron::ops::cuda
