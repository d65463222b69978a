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
  int64_t of_table, first_row;
};

// blockIdx.y: the matrix of a stack.
template <int N, class T>
__global__ void dequantise_kernel(const e4m3* table, detail::StackView at, detail::ScaleView scale,
                                  Rows rows, T* y) {
  using A = accumulator_t<T>;
  table += blockIdx.y * at.values;
  scale.values += blockIdx.y * at.scales;
  y += blockIdx.y * rows.count * rows.columns;
  const int64_t pieces = rows.columns / N;
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t item = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; item < rows.count * pieces;
       item += stride) {
    const int64_t to = item / pieces, c = item % pieces * N;
    const int64_t row = rows.ids == nullptr ? to : int64_t(rows.ids[to]) - rows.first_row;
    Pack<T, N> numbers{};
    if (row >= 0 && row < rows.of_table) {
      const auto stored = *reinterpret_cast<const Pack<e4m3, N>*>(table + row * at.stride + c);
      const A by = A(scale.row(row)[scale.block_of(c)]);
#pragma unroll
      for (int k = 0; k < N; ++k) detail::put(numbers.v[k], A(float(stored.v[k])) * by);
    }
    *reinterpret_cast<Pack<T, N>*>(y + to * rows.columns + c) = numbers;
  }
}

template <class T>
void dequantise_rows(const char* name, const e4m3* table, const detail::StackView& at,
                     int64_t matrices, const detail::ScaleView& scale, const Rows& rows, T* y,
                     Stream stream) {
  constexpr int kN = kTogether;
  const bool whole = rows.columns % kN == 0 && at.stride % kN == 0 && at.values % kN == 0 &&
                     scale.in_block % kN == 0 && scale.in_offset % kN == 0;
  const auto launch_for = [&](auto kernel, int64_t items) {
    LaunchShape shape = over_items(items, kThreads, kMostBlocks);
    shape.grid.y = unsigned(matrices);
    launch(name, kernel, shape, stream, table, at, scale, rows, y);
  };
  if (whole && aligned_for(table, kN) && aligned_for(y, kN)) {
    launch_for(dequantise_kernel<kN, T>, rows.count * (rows.columns / kN));
  } else {
    launch_for(dequantise_kernel<1, T>, rows.count * rows.columns);
  }
}

}  // namespace

template <class T>
void dequantise(const e4m3* values, const detail::StackView& at, int64_t count,
                const detail::ScaleView& scale, int64_t rows, int64_t columns, T* to,
                Stream stream) {
  dequantise_rows("dequantise", values, at, count, scale, {nullptr, rows, columns, rows, 0}, to,
                  stream);
}

template <class T>
void embedding_forward(const int32_t* ids, const e4m3* table, const detail::ScaleView& scale, T* y,
                       int64_t tokens, int64_t rows, int64_t hidden, int64_t first_row,
                       Stream stream) {
  dequantise_rows("embedding", table, {.stride = hidden, .values = 0, .scales = 0}, 1, scale,
                  {ids, tokens, hidden, rows, first_row}, y, stream);
}

#define ELASTRON_FOR(T)                                                                         \
  template void dequantise<T>(const e4m3*, const detail::StackView&, int64_t,                   \
                              const detail::ScaleView&, int64_t, int64_t, T*, Stream);          \
  template void embedding_forward<T>(const int32_t*, const e4m3*, const detail::ScaleView&, T*, \
                                     int64_t, int64_t, int64_t, int64_t, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
