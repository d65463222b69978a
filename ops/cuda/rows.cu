#include <algorithm>

#include "core/cuda/launch.h"
#include "ops/cuda/primitives.h"
#include "ops/cuda/rows.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 65536;

// Neighbouring threads have the units of one row: as many threads as it has units, rounded up to a
// power of two, and no more than a warp. A row's index is read once by each of them, and no thread
// divides.
struct RowShape {
  int64_t rows = 0, units = 0;
  int lanes_log2 = 0;
};

RowShape row_shape(int64_t rows, int64_t units) {
  RowShape shape{.rows = rows, .units = units};
  while (shape.lanes_log2 < 5 && (int64_t(1) << shape.lanes_log2) < units) ++shape.lanes_log2;
  return shape;
}

LaunchShape launch_shape(const RowShape& shape, int pieces) {
  LaunchShape launch =
      over_items(shape.units == 0 ? 0 : shape.rows, kThreads >> shape.lanes_log2, kMostBlocks);
  launch.grid.y = unsigned(pieces);
  launch.block.x = kThreads;
  return launch;
}

// f(row, unit) for those of this thread.
template <class F>
__device__ __forceinline__ void for_units(const RowShape& shape, const F& f) {
  const int lanes = 1 << shape.lanes_log2, lane = int(threadIdx.x) & (lanes - 1);
  const int64_t rows_each = blockDim.x >> shape.lanes_log2;
  const int64_t first = blockIdx.x * rows_each + (threadIdx.x >> shape.lanes_log2);
  for (int64_t row = first; row < shape.rows; row += gridDim.x * rows_each) {
    for (int64_t unit = lane; unit < shape.units; unit += lanes) f(row, unit);
  }
}

// Row to_rows[i] of what is written = row from_rows[i] of what is read; null: row i. Negative rows
// are zeros, or not written. Strides in units.
template <class Unit>
__global__ void move_rows_kernel(RowPieces pieces, RowShape shape, const int32_t* from_rows,
                                 const int32_t* to_rows) {
  const auto* from = static_cast<const Unit*>(pieces.from[blockIdx.y]);
  auto* to = static_cast<Unit*>(pieces.to[blockIdx.y]);
  for_units(shape, [&](int64_t row, int64_t unit) {
    const int64_t source = from_rows != nullptr ? int64_t(from_rows[row]) : row;
    const int64_t place = to_rows != nullptr ? int64_t(to_rows[row]) : row;
    if (place < 0) return;
    Unit value{};
    if (source >= 0) value = from[source * pieces.from_stride + unit];
    to[place * pieces.to_stride + unit] = value;
  });
}

// Units of N elements; strides in elements.
template <int N, class T>
__global__ void add_rows_kernel(RowPieces pieces, RowShape shape, const int32_t* index) {
  using A = accumulator_t<T>;
  const T* from = static_cast<const T*>(pieces.from[0]);
  T* to = static_cast<T*>(pieces.to[0]);
  for_units(shape, [&](int64_t row, int64_t unit) {
    const int64_t place = index[row];
    if (place < 0) return;
    const auto x = *reinterpret_cast<const Pack<T, N>*>(from + row * pieces.from_stride + unit * N);
    auto* there = reinterpret_cast<Pack<T, N>*>(to + place * pieces.to_stride + unit * N);
    Pack<T, N> y = *there;
#pragma unroll
    for (int k = 0; k < N; ++k) detail::put(y.v[k], A(y.v[k]) + A(x.v[k]));
    *there = y;
  });
}

template <int N, class T>
__global__ void sum_rows_kernel(RowPieces pieces, RowShape shape, const int32_t* bounds,
                                const int32_t* rows) {
  using A = accumulator_t<T>;
  const T* from = static_cast<const T*>(pieces.from[blockIdx.y]);
  T* to = static_cast<T*>(pieces.to[blockIdx.y]);
  for_units(shape, [&](int64_t row, int64_t unit) {
    A sum[N] = {};
    const int32_t begin = bounds[row], end = bounds[row + 1];
    for (int32_t j = begin; j < end; ++j) {
      const auto x =
          *reinterpret_cast<const Pack<T, N>*>(from + rows[j] * pieces.from_stride + unit * N);
#pragma unroll
      for (int k = 0; k < N; ++k) sum[k] = j == begin ? A(x.v[k]) : sum[k] + A(x.v[k]);
    }
    Pack<T, N> y;
#pragma unroll
    for (int k = 0; k < N; ++k) detail::put(y.v[k], sum[k]);
    *reinterpret_cast<Pack<T, N>*>(to + row * pieces.to_stride + unit * N) = y;
  });
}

// Whether rows, strides and addresses are whole units of so many bytes.
bool in_units_of(size_t unit, const RowPieces& pieces, size_t item) {
  const auto whole = [=](int64_t elements) { return size_t(elements) * item % unit == 0; };
  bool all = whole(pieces.width) && whole(pieces.from_stride) && whole(pieces.to_stride);
  for (size_t i = 0; i < size_t(pieces.count); ++i) {
    all = all && reinterpret_cast<uintptr_t>(pieces.from[i]) % unit == 0 &&
          reinterpret_cast<uintptr_t>(pieces.to[i]) % unit == 0;
  }
  return all;
}

template <class Unit>
void move_in(const char* name, const RowPieces& pieces, size_t item, const int32_t* from_rows,
             const int32_t* to_rows, int64_t n, Stream stream) {
  RowPieces in_units = pieces;
  const auto units = [=](int64_t elements) {
    return elements * int64_t(item) / int64_t(sizeof(Unit));
  };
  in_units.from_stride = units(pieces.from_stride);
  in_units.to_stride = units(pieces.to_stride);
  const RowShape shape = row_shape(n, units(pieces.width));
  launch(name, move_rows_kernel<Unit>, launch_shape(shape, pieces.count), stream, in_units, shape,
         from_rows, to_rows);
}

void move(const char* name, const RowPieces& pieces, size_t item, const int32_t* from_rows,
          const int32_t* to_rows, int64_t n, Stream stream) {
  if (in_units_of(16, pieces, item)) {
    move_in<Pack<uint32_t, 4>>(name, pieces, item, from_rows, to_rows, n, stream);
  } else if (in_units_of(4, pieces, item)) {
    move_in<uint32_t>(name, pieces, item, from_rows, to_rows, n, stream);
  } else {
    move_in<uint8_t>(name, pieces, item, from_rows, to_rows, n, stream);
  }
}

}  // namespace

void gather_rows(const RowPieces& pieces, const int32_t* index, int64_t n, size_t item,
                 Stream stream) {
  move("gather_rows", pieces, item, index, nullptr, n, stream);
}
void scatter_rows(const RowPieces& pieces, const int32_t* index, int64_t n, size_t item,
                  Stream stream) {
  move("scatter_rows", pieces, item, nullptr, index, n, stream);
}

template <class T>
void add_rows(const RowPieces& pieces, const int32_t* index, int64_t n, Stream stream) {
  constexpr int kN = kPackOf<T>;
  const bool packs = in_units_of(16, pieces, sizeof(T));
  const RowShape shape = row_shape(n, packs ? pieces.width / kN : pieces.width);
  launch("add_rows", packs ? add_rows_kernel<kN, T> : add_rows_kernel<1, T>,
         launch_shape(shape, pieces.count), stream, pieces, shape, index);
}

template <class T>
void sum_rows(const RowPieces& pieces, const int32_t* bounds, const int32_t* rows, int64_t n,
              Stream stream) {
  constexpr int kN = kPackOf<T>;
  const bool packs = in_units_of(16, pieces, sizeof(T));
  const RowShape shape = row_shape(n, packs ? pieces.width / kN : pieces.width);
  launch("sum_rows", packs ? sum_rows_kernel<kN, T> : sum_rows_kernel<1, T>,
         launch_shape(shape, pieces.count), stream, pieces, shape, bounds, rows);
}

#define ELASTRON_FOR(T)                                                         \
  template void add_rows<T>(const RowPieces&, const int32_t*, int64_t, Stream); \
  template void sum_rows<T>(const RowPieces&, const int32_t*, const int32_t*, int64_t, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
