#include "core/cuda/launch.h"
#include "ops/cuda/dequantise.h"
#include "ops/cuda/primitives.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1 << 20;
constexpr int kTogether = 8;  // values of one block that a thread turns at once

// y[i] = row i of the table or, with ids, row ids[i] - first_row: zeros where it has none.
struct Rows {
  const int32_t* ids;
  int64_t count, columns;
  int64_t stride;  // between the table's rows
  int64_t of_table, first_row;
};

template <int N, class T>
__global__ void dequantise_kernel(const e4m3* table, detail::ScaleView scale, Rows rows, T* y) {
  using A = accumulator_t<T>;
  const int64_t pieces = rows.columns / N;
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t item = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; item < rows.count * pieces;
       item += stride) {
    const int64_t to = item / pieces, c = item % pieces * N;
    const int64_t row = rows.ids == nullptr ? to : int64_t(rows.ids[to]) - rows.first_row;
    Pack<T, N> numbers{};
    if (row >= 0 && row < rows.of_table) {
      const auto stored = *reinterpret_cast<const Pack<e4m3, N>*>(table + row * rows.stride + c);
      const A by = A(scale.row(row)[scale.block_of(c)]);
#pragma unroll
      for (int k = 0; k < N; ++k) detail::put(numbers.v[k], A(float(stored.v[k])) * by);
    }
    *reinterpret_cast<Pack<T, N>*>(y + to * rows.columns + c) = numbers;
  }
}

template <class T>
void dequantise_rows(const char* name, const e4m3* table, const detail::ScaleView& scale,
                     const Rows& rows, T* y, Stream stream) {
  constexpr int kN = kTogether;
  const bool whole = rows.columns % kN == 0 && rows.stride % kN == 0 && scale.in_block % kN == 0 &&
                     scale.in_offset % kN == 0;
  if (whole && aligned_for(table, kN) && aligned_for(y, kN)) {
    launch(name, dequantise_kernel<kN, T>,
           over_items(rows.count * (rows.columns / kN), kThreads, kMostBlocks), stream, table,
           scale, rows, y);
  } else {
    launch(name, dequantise_kernel<1, T>,
           over_items(rows.count * rows.columns, kThreads, kMostBlocks), stream, table, scale, rows,
           y);
  }
}

}  // namespace

template <class T>
void dequantise(const e4m3* values, int64_t stride, const detail::ScaleView& scale, int64_t rows,
                int64_t columns, T* to, Stream stream) {
  dequantise_rows("dequantise", values, scale, {nullptr, rows, columns, stride, rows, 0}, to,
                  stream);
}

template <class T>
void embedding_forward(const int32_t* ids, const e4m3* table, const detail::ScaleView& scale, T* y,
                       int64_t tokens, int64_t rows, int64_t hidden, int64_t first_row,
                       Stream stream) {
  dequantise_rows("embedding", table, scale, {ids, tokens, hidden, hidden, rows, first_row}, y,
                  stream);
}

#define ELASTRON_FOR(T)                                                                         \
  template void dequantise<T>(const e4m3*, int64_t, const detail::ScaleView&, int64_t, int64_t, \
                              T*, Stream);                                                      \
  template void embedding_forward<T>(const int32_t*, const e4m3*, const detail::ScaleView&, T*, \
                                     int64_t, int64_t, int64_t, int64_t, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
