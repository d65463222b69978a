#include <algorithm>

#include "core/cuda/launch.h"
#include "core/dispatch.h"
#include "ops/cuda/grouped_linear.h"
#include "ops/cuda/tensor_core.h"
#include "ops/kernel_families.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

// y [R, columns] = (accumulate ? y : 0) + x [*, inner] times a matrix per group, [inner, columns],
// whose element (k, c) is at weights[group][k * k_stride + c * column_stride].
template <class T>
struct GroupedProduct {
  const T *x, *weights;
  const int32_t *bounds, *rows;  // rows may be null
  T* y;
  int32_t groups, inner, columns;
  int64_t k_stride, column_stride;
  bool accumulate;

  __device__ __forceinline__ const T* row(int64_t r) const {
    return x + (rows != nullptr ? int64_t(rows[r]) : r) * inner;
  }
  __device__ __forceinline__ const T* matrix(int32_t group) const {
    return weights + int64_t(group) * inner * columns;
  }
};

// The rows [begin, end) of one group that are tile number `tile` when groups are cut into tiles of
// kRows one after the other; group < 0: there are fewer tiles. All lanes of a warp ask, and get the
// same.
struct RowTile {
  int32_t group = -1, begin = 0, end = 0;
};
template <int kRows>
__device__ __forceinline__ RowTile row_tile(const int32_t* bounds, int32_t groups, int32_t tile) {
  const int lane = int(threadIdx.x) % kWarp;
  for (int32_t first = 0; first < groups; first += kWarp) {
    const int32_t group = first + lane;
    const int32_t begin = group < groups ? bounds[group] : 0;
    const int32_t end = group < groups ? bounds[group + 1] : 0;
    const int32_t own = (end - begin + kRows - 1) / kRows;
    int32_t past = own;  // tiles of this group and those of the lanes below
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const int32_t lower = __shfl_sync(kAllLanes, past, lane >= step ? lane - step : lane);
      if (lane >= step) past += lower;
    }
    const unsigned found = __ballot_sync(kAllLanes, past > tile);
    if (found != 0) {
      const int source = __popc((found & (0u - found)) - 1);
      const int32_t at = begin + (tile - (past - own)) * kRows;
      RowTile result;
      result.group = first + source;
      result.begin = __shfl_sync(kAllLanes, at, source);
      result.end = __shfl_sync(kAllLanes, end, source);
      if (result.end > result.begin + kRows) result.end = result.begin + kRows;
      return result;
    }
    tile -= __shfl_sync(kAllLanes, past, kWarp - 1);
  }
  return {};
}

// --- Plain -------------------------------------------------------------------------------------

constexpr int kPlainTile = 16;  // rows and columns of a block, and the depth of a turn

template <class T>
__global__ void __launch_bounds__(kPlainTile* kPlainTile)
    plain_grouped_kernel(GroupedProduct<T> p) {
  using A = accumulator_t<T>;
  __shared__ A tile_x[kPlainTile][kPlainTile + 1];
  __shared__ A tile_w[kPlainTile][kPlainTile + 1];
  const RowTile rows = row_tile<kPlainTile>(p.bounds, p.groups, int32_t(blockIdx.y));
  if (rows.group < 0) return;
  const int x = int(threadIdx.x) % kPlainTile, y = int(threadIdx.x) / kPlainTile;
  const int64_t row = int64_t(rows.begin) + y;
  const int column = int(blockIdx.x) * kPlainTile + x;
  const bool has_row = row < rows.end;
  const T* from = has_row ? p.row(row) : nullptr;
  const T* w = p.matrix(rows.group);
  A sum = 0;
  for (int first = 0; first < p.inner; first += kPlainTile) {
    const int i = first + x, k = first + y;
    tile_x[y][x] = has_row && i < p.inner ? A(from[i]) : A(0);
    tile_w[y][x] =
        column < p.columns && k < p.inner ? A(w[k * p.k_stride + column * p.column_stride]) : A(0);
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kPlainTile; ++j) sum += tile_x[y][j] * tile_w[j][x];
    __syncthreads();
  }
  if (!has_row || column >= p.columns) return;
  T& to = p.y[row * p.columns + column];
  to = T(p.accumulate ? A(to) + sum : sum);
}

// --- Tensor cores --------------------------------------------------------------------------------

constexpr int kThreads = 256, kDepth = 32, kStages = 3, kColumns = 128;
// Rows in shared memory are padded by 16 bytes: an odd number of 16-byte chunks (mma_tiles.h).
constexpr int kPad = 8;

// A warp has kRowTiles tiles of 16 rows and kColumnTiles of 8 columns; kWarpRows warps stand below
// each other, the others beside.
template <int kRowTiles, int kWarpRows>
struct Tiling {
  static constexpr int rows = kRowTiles * kWarpRows * 16;
  static constexpr int warp_columns = kThreads / kWarp / kWarpRows;
  static constexpr int column_tiles = kColumns / warp_columns / 8;
  static_assert(column_tiles % 2 == 0);
};

// kByColumns: a column's weights stand together (forward), or else a k's (the gradient).
template <int kRows, bool kByColumns>
struct Stage {
  static constexpr int lead = kByColumns ? kDepth + kPad : kColumns + kPad;
  bf16 x[kRows * (kDepth + kPad)];
  bf16 w[(kByColumns ? kColumns : kDepth) * lead];
};

// Brings depth [k0, k0 + kDepth) of a block's rows and columns, zeros outside of them.
template <int kRows, bool kByColumns>
__device__ __forceinline__ void load_stage(const GroupedProduct<bf16>& p, const RowTile& rows,
                                           const bf16* w, int column0, int k0,
                                           const int64_t* row_at, Stage<kRows, kByColumns>& stage) {
  constexpr int kChunks = kDepth / 8;  // of 16 bytes
  for (int i = int(threadIdx.x); i < kRows * kChunks; i += kThreads) {
    const int row = i / kChunks, k = k0 + i % kChunks * 8;
    const bool inside = rows.begin + row < rows.end && k < p.inner;
    cp_async_16(stage.x + row * (kDepth + kPad) + i % kChunks * 8,
                inside ? p.x + row_at[row] + k : p.x, inside);
  }
  constexpr int kAcross = (kByColumns ? kDepth : kColumns) / 8;
  constexpr int kLines = kByColumns ? kColumns : kDepth;
  for (int i = int(threadIdx.x); i < kLines * kAcross; i += kThreads) {
    const int line = i / kAcross, at = i % kAcross * 8;
    const int k = k0 + (kByColumns ? at : line), column = column0 + (kByColumns ? line : at);
    const bool inside = k < p.inner && column < p.columns;
    cp_async_16(stage.w + line * Stage<kRows, kByColumns>::lead + at,
                inside ? w + k * p.k_stride + column * p.column_stride : w, inside);
  }
}

// sums += the stage's product, of this warp's rows and columns.
template <int kRowTiles, int kColumnTiles, int kRows, bool kByColumns>
__device__ __forceinline__ void multiply(const Stage<kRows, kByColumns>& stage, int row, int column,
                                         float (&sums)[kRowTiles][kColumnTiles][4]) {
  constexpr int kLead = Stage<kRows, kByColumns>::lead;
  const int lane = int(threadIdx.x) % kWarp;
#pragma unroll
  for (int k = 0; k < kDepth; k += 16) {
    uint32_t b[kColumnTiles][2];
#pragma unroll
    for (int n = 0; n < kColumnTiles; n += 2) {
      uint32_t d[4];
      if constexpr (kByColumns) {
        ldmatrix_x4(d, stage.w + (column + n * 8 + lane / 16 * 8 + lane % 8) * kLead + k +
                           lane / 8 % 2 * 8);
      } else {
        ldmatrix_x4_trans(d, stage.w + (k + lane % 16) * kLead + column + n * 8 + lane / 16 * 8);
      }
      b[n][0] = d[0], b[n][1] = d[1], b[n + 1][0] = d[2], b[n + 1][1] = d[3];
    }
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      uint32_t a[4];
      ldmatrix_x4(a, stage.x + (row + m * 16 + lane % 16) * (kDepth + kPad) + k + lane / 16 * 8);
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) mma_bf16_16816(sums[m][n], a, b[n]);
    }
  }
}

template <int kRowTiles, int kColumnTiles>
__device__ __forceinline__ void store(const GroupedProduct<bf16>& p, const RowTile& rows, int row,
                                      int column, const float (&sums)[kRowTiles][kColumnTiles][4]) {
  const int lane = int(threadIdx.x) % kWarp;
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t r = int64_t(rows.begin) + row + m * 16 + half * 8 + lane / 4;
      if (r >= rows.end) continue;
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
        const int c = column + n * 8 + lane % 4 * 2;
        if (c >= p.columns) continue;
        auto* to = reinterpret_cast<uint32_t*>(p.y + r * p.columns + c);
        float low = sums[m][n][2 * half], high = sums[m][n][2 * half + 1];
        if (p.accumulate) {
          const auto before = *reinterpret_cast<const Pack<bf16, 2>*>(to);
          low += float(before.v[0]);
          high += float(before.v[1]);
        }
        *to = packed_bf16(low, high);
      }
    }
  }
}

template <int kRowTiles, int kWarpRows, bool kByColumns>
__global__ void __launch_bounds__(kThreads) mma_grouped_kernel(GroupedProduct<bf16> p) {
  using Tiles = Tiling<kRowTiles, kWarpRows>;
  constexpr int kRows = Tiles::rows, kColumnTiles = Tiles::column_tiles;
  auto* stages = dynamic_shared_memory<Stage<kRows, kByColumns>>();
  __shared__ int64_t row_at[kRows];  // where a row of x begins
  const RowTile rows = row_tile<kRows>(p.bounds, p.groups, int32_t(blockIdx.y));
  if (rows.group < 0) return;
  for (int r = int(threadIdx.x); r < kRows && rows.begin + r < rows.end; r += kThreads) {
    row_at[r] = p.row(rows.begin + r) - p.x;
  }
  __syncthreads();
  const bf16* w = p.matrix(rows.group);
  const int column0 = int(blockIdx.x) * kColumns, steps = (p.inner + kDepth - 1) / kDepth;
  const int warp = int(threadIdx.x) / kWarp;
  const int row = warp % kWarpRows * kRowTiles * 16;
  const int column = warp / kWarpRows * kColumnTiles * 8;
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < steps) load_stage(p, rows, w, column0, s * kDepth, row_at, stages[s]);
    cp_async_commit();
  }
  float sums[kRowTiles][kColumnTiles][4] = {};
  for (int step = 0; step < steps; ++step) {
    cp_async_wait<kStages - 2>();
    __syncthreads();  // this stage is there, and the one before it has been read
    const int ahead = step + kStages - 1;
    if (ahead < steps) {
      load_stage(p, rows, w, column0, ahead * kDepth, row_at, stages[ahead % kStages]);
    }
    cp_async_commit();
    multiply<kRowTiles, kColumnTiles>(stages[step % kStages], row, column, sums);
  }
  store(p, rows, row, column0 + column, sums);
}

// --- Choice --------------------------------------------------------------------------------------

// Most tiles of so many rows that `rows` in `groups` can make.
int64_t most_tiles(int64_t rows, int64_t groups, int64_t tile) {
  return rows / tile + std::min(rows, groups);
}

template <int kRowTiles, int kWarpRows, bool kByColumns>
void multiply_by_mma(const GroupedProduct<bf16>& p, int64_t rows, Stream stream) {
  constexpr int kRows = Tiling<kRowTiles, kWarpRows>::rows;
  const LaunchShape shape{
      dim3(unsigned(ceil_div(p.columns, kColumns)), unsigned(most_tiles(rows, p.groups, kRows))),
      dim3(kThreads), sizeof(Stage<kRows, kByColumns>) * kStages};
  launch("grouped_linear", mma_grouped_kernel<kRowTiles, kWarpRows, kByColumns>, shape, stream, p);
}

// Where groups have few rows, most of a large tile would be empty.
constexpr int64_t kRowsForLargeTiles = 48;

template <bool kByColumns>
void multiply_by_mma(const GroupedProduct<bf16>& p, int64_t rows, Stream stream) {
  if (rows >= kRowsForLargeTiles * p.groups) {
    multiply_by_mma<4, 2, kByColumns>(p, rows, stream);
  } else {
    multiply_by_mma<2, 1, kByColumns>(p, rows, stream);
  }
}

bool on_tensor_cores(const GroupedProduct<bf16>& p, Device& device) {
  return p.inner % 8 == 0 && p.columns % 8 == 0 && aligned_for(p.x, 8) &&
         aligned_for(p.weights, 8) && aligned_for(p.y, 8) &&
         !is_forbidden(device, KernelFamily::mma_groups);
}

template <class T>
void multiply(const GroupedProduct<T>& p, int64_t rows, Device& device, Stream stream) {
  if (rows == 0 || p.groups == 0) return;
  if constexpr (std::is_same_v<T, bf16>) {
    if (on_tensor_cores(p, device)) {
      if (p.k_stride == 1) {
        multiply_by_mma<true>(p, rows, stream);
      } else {
        multiply_by_mma<false>(p, rows, stream);
      }
      return;
    }
  }
  const LaunchShape shape{dim3(unsigned(ceil_div(p.columns, kPlainTile)),
                               unsigned(most_tiles(rows, p.groups, kPlainTile))),
                          dim3(kPlainTile * kPlainTile)};
  launch("grouped_linear", plain_grouped_kernel<T>, shape, stream, p);
}

template <class T>
GroupedProduct<T> product_of(const Tensor& x, const Tensor& weights, const RowGroups& groups,
                             bool accumulate, Tensor& y) {
  return {.x = x.data<T>(),
          .weights = weights.data<T>(),
          .bounds = groups.bounds.data<int32_t>(),
          .rows = groups.rows.defined() ? groups.rows.data<int32_t>() : nullptr,
          .y = y.data<T>(),
          .groups = int32_t(weights.size(0)),
          .inner = int32_t(x.size(1)),
          .columns = int32_t(y.size(1)),
          .k_stride = 0,
          .column_stride = 0,
          .accumulate = accumulate};
}

}  // namespace

void grouped_linear_forward(const Tensor& x, const Tensor& weights, const RowGroups& groups,
                            Tensor& y, Stream stream) {
  with_float_dtype(x.dtype(), [&]<class T>() {
    auto p = product_of<T>(x, weights, groups, false, y);
    p.k_stride = 1;
    p.column_stride = weights.size(2);
    multiply(p, y.size(0), x.device(), stream);
  });
}

void grouped_linear_dgrad(const Tensor& dy, const Tensor& weights, const RowGroups& groups,
                          bool accumulate, Tensor& dx, Stream stream) {
  with_float_dtype(dy.dtype(), [&]<class T>() {
    auto p = product_of<T>(dy, weights, groups, accumulate, dx);
    p.k_stride = weights.size(2);
    p.column_stride = 1;
    multiply(p, dx.size(0), dy.device(), stream);
  });
}

}  // namespace elastron::ops::cuda
