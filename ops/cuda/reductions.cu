#include <algorithm>

#include "core/cuda/launch.h"
#include "ops/cuda/primitives.h"
#include "ops/cuda/reductions.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 256;
static_assert(kSquaresPerBlock % kThreads == 0);

// The part that a block of threads belongs to: the last one that begins at or before it.
__device__ __forceinline__ int64_t part_of(const SquaresPart* parts, int64_t count, int64_t block) {
  int64_t low = 0, high = count;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (parts[middle].block <= block) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

template <class T>
__global__ void square_blocks_kernel(const SquaresPart* parts, int64_t count, double* partial) {
  __shared__ double scratch[kThreads / kWarp];
  const SquaresPart part = parts[part_of(parts, count, blockIdx.x)];
  const auto* x = static_cast<const T*>(part.x);
  const int64_t begin = (int64_t(blockIdx.x) - part.block) * kSquaresPerBlock;
  const int64_t end = begin + kSquaresPerBlock < part.count ? begin + kSquaresPerBlock : part.count;
  double sum = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const double value = double(accumulator_t<T>(x[i]));
    sum += value * value;
  }
  sum = block_sum<kThreads>(sum, scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__device__ __forceinline__ double sum_of(const double* x, int64_t n) {
  __shared__ double scratch[kThreads / kWarp];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) sum += x[i];
  return block_sum<kThreads>(sum, scratch);
}

__global__ void sum_kernel(const double* x, int64_t n, double* out) {
  const double sum = sum_of(x, n);
  if (threadIdx.x == 0) *out = sum;
}

// A block per part.
__global__ void sum_part_kernel(const SquaresPart* parts, const double* partial, double* sums) {
  const SquaresPart part = parts[blockIdx.x];
  const double sum = sum_of(partial + part.block, ceil_div(part.count, kSquaresPerBlock));
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void sum_in_order_kernel(const double* x, int64_t n, double* out) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  *out = sum;
}

__global__ void set_kernel(int32_t* place, int32_t value) { *place = value; }

template <class T>
__global__ void finite_kernel(const T* x, int64_t n, int32_t* finite) {
  using A = accumulator_t<T>;
  A zeros = 0;  // x 0 is 0 for finite x, NaN otherwise
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
    zeros += A(x[i]) * A(0);
  }
  if (!(zeros == A(0))) *finite = 0;  // all who write, write the same
}

template <class T>
struct Element {
  const T* x;
  ELASTRON_HD accumulator_t<T> operator()(int64_t, int64_t i) const {
    return accumulator_t<T>(x[i]);
  }
};
template <class T>
struct NormWeightTerm {
  const T *dy, *x;
  const accumulator_t<T>* inv_rms;
  ELASTRON_HD accumulator_t<T> operator()(int64_t row, int64_t i) const {
    using A = accumulator_t<T>;
    return A(dy[i]) * A(x[i]) * inv_rms[row];
  }
};

// Rows that one block sums, per column: at most kMostRowBlocks blocks, since a grid's second
// dimension ends at 65,535.
// partial[block of rows][column]
template <class A, class F>
__global__ void column_blocks_kernel(F term, int64_t rows, int64_t rows_each, int64_t columns,
                                     A* partial) {
  const int64_t column = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  const int64_t begin = int64_t(blockIdx.y) * rows_each;
  const int64_t end = begin + rows_each < rows ? begin + rows_each : rows;
  A sum = 0;
  for (int64_t row = begin; row < end; ++row) sum += term(row, row * columns + column);
  partial[int64_t(blockIdx.y) * columns + column] = sum;
}

template <class A>
__global__ void add_columns_kernel(const A* partial, int64_t blocks, int64_t columns, A* out) {
  const int64_t column = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  A sum = out[column];
  for (int64_t b = 0; b < blocks; ++b) sum += partial[b * columns + column];
  out[column] = sum;
}

template <class A, class F>
void column_sums(const F& term_from, int64_t rows, int64_t columns, A* scratch, A* out,
                 Stream stream) {
  if (rows == 0 || columns == 0) return;
  const int64_t rows_each = rows_per_block(rows), blocks = ceil_div(rows, rows_each);
  LaunchShape shape = over_items(columns, kThreads);
  shape.grid.y = unsigned(blocks);
  launch("column_sums", column_blocks_kernel<A, F>, shape, stream, term_from, rows, rows_each,
         columns, scratch);
  launch("add_columns", add_columns_kernel<A>, over_items(columns, kThreads), stream, scratch,
         blocks, columns, out);
}

}  // namespace

template <class T>
void sum_of_squares(const SquaresPart* parts, int64_t count, int64_t blocks, double* scratch,
                    double* sum, Stream stream) {
  double *sums = scratch, *partial = scratch + count;
  launch("sum_of_squares", square_blocks_kernel<T>,
         LaunchShape{dim3(unsigned(blocks)), dim3(kThreads)}, stream, parts, count, partial);
  launch("sum_of_squares", sum_part_kernel, LaunchShape{dim3(unsigned(count)), dim3(kThreads)},
         stream, parts, partial, sums);
  launch("sum_of_squares", sum_in_order_kernel, LaunchShape{dim3(1), dim3(1)}, stream, sums, count,
         sum);
}

void sum(const double* x, int64_t n, double* sum, Stream stream) {
  launch("sum", sum_kernel, LaunchShape{dim3(1), dim3(kThreads)}, stream, x, n, sum);
}

template <class T>
void all_finite(const T* x, int64_t n, int32_t* finite, Stream stream) {
  launch("all_finite", set_kernel, LaunchShape{dim3(1), dim3(1)}, stream, finite, 1);
  launch("all_finite", finite_kernel<T>, over_items(n, kThreads, 4096), stream, x, n, finite);
}

template <class T>
void add_column_sums(const T* x, int64_t rows, int64_t columns, accumulator_t<T>* scratch,
                     accumulator_t<T>* out, Stream stream) {
  column_sums(Element<T>{x}, rows, columns, scratch, out, stream);
}

template <class T>
void add_rms_norm_weight_gradient(const T* dy, const T* x, const accumulator_t<T>* inv_rms,
                                  int64_t rows, int64_t n, accumulator_t<T>* scratch,
                                  accumulator_t<T>* dw, Stream stream) {
  column_sums(NormWeightTerm<T>{dy, x, inv_rms}, rows, n, scratch, dw, stream);
}

#define ELASTRON_FOR(T)                                                                            \
  template void sum_of_squares<T>(const SquaresPart*, int64_t, int64_t, double*, double*, Stream); \
  template void all_finite<T>(const T*, int64_t, int32_t*, Stream);                                \
  template void add_column_sums<T>(const T*, int64_t, int64_t, accumulator_t<T>*,                  \
                                   accumulator_t<T>*, Stream);                                     \
  template void add_rms_norm_weight_gradient<T>(const T*, const T*, const accumulator_t<T>*,       \
                                                int64_t, int64_t, accumulator_t<T>*,               \
                                                accumulator_t<T>*, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
