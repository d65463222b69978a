#include "core/cuda/launch.h"
#include "core/dispatch.h"
#include "ops/cuda/plain_matmul.h"
#include "ops/cuda/primitives.h"

namespace elastron::ops::cuda {

namespace {

using elastron::cuda::launch;
using elastron::cuda::LaunchShape;
using elastron::cuda::Stream;

constexpr int kTile = 16;  // rows and columns of a block's part of c, and the depth of a turn

// Element (i, j) of a matrix is at data[i * row + j * column].
template <class T>
struct Strided {
  const T* data = nullptr;
  int64_t row = 0, column = 0;
};

// c [m, n] = (accumulate ? c : 0) + bias [n] + a [m, inner] b [inner, n].
template <class T, class C>
__global__ void __launch_bounds__(kTile* kTile)
    plain_product_kernel(Strided<T> a, Strided<T> b, const T* bias, C* c, int64_t m, int64_t n,
                         int64_t inner, bool accumulate) {
  using A = accumulator_t<T>;
  __shared__ A tile_a[kTile][kTile + 1];
  __shared__ A tile_b[kTile][kTile + 1];
  const int x = int(threadIdx.x) % kTile, y = int(threadIdx.x) / kTile;
  // Rows are many, and a grid is longest along x.
  const int64_t row = int64_t(blockIdx.x) * kTile + y, column = int64_t(blockIdx.y) * kTile + x;
  A sum = 0;
  for (int64_t first = 0; first < inner; first += kTile) {
    const int64_t i = first + x, k = first + y;
    tile_a[y][x] = row < m && i < inner ? A(a.data[row * a.row + i * a.column]) : A(0);
    tile_b[y][x] = column < n && k < inner ? A(b.data[k * b.row + column * b.column]) : A(0);
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kTile; ++j) sum += tile_a[y][j] * tile_b[j][x];
    __syncthreads();
  }
  if (row >= m || column >= n) return;
  C& to = c[row * n + column];
  if (bias != nullptr) sum += A(bias[column]);
  to = C(accumulate ? A(to) + sum : sum);
}

template <class T, class C>
void multiply(Strided<T> a, Strided<T> b, const T* bias, C* c, int64_t m, int64_t n, int64_t inner,
              bool accumulate, Stream stream) {
  const LaunchShape shape{dim3(unsigned(ceil_div(m, kTile)), unsigned(ceil_div(n, kTile))),
                          dim3(kTile * kTile)};
  launch("plain_matmul", plain_product_kernel<T, C>, shape, stream, a, b, bias, c, m, n, inner,
         accumulate);
}

}  // namespace

void plain_matmul_forward(const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y,
                          Stream stream) {
  with_float_dtype(x.dtype(), [&]<class T>() {
    const int64_t in = w.size(1);
    multiply<T, T>({x.data<T>(), in, 1}, {w.data<T>(), 1, in},
                   bias.defined() ? bias.data<T>() : nullptr, y.data<T>(), x.size(0), w.size(0), in,
                   false, stream);
  });
}

void plain_matmul_dgrad(const Tensor& dy, const Tensor& w, bool accumulate, Tensor& dx,
                        Stream stream) {
  with_float_dtype(dy.dtype(), [&]<class T>() {
    const int64_t out = w.size(0), in = w.size(1);
    multiply<T, T>({dy.data<T>(), out, 1}, {w.data<T>(), in, 1}, nullptr, dx.data<T>(), dy.size(0),
                   in, out, accumulate, stream);
  });
}

void plain_matmul_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw, Stream stream) {
  with_float_dtype(x.dtype(), [&]<class T>() {
    using A = accumulator_t<T>;
    const int64_t out = dw.size(0), in = dw.size(1);
    multiply<T, A>({dy.data<T>(), 1, out}, {x.data<T>(), in, 1}, nullptr, dw.data<A>(), out, in,
                   x.size(0), true, stream);
  });
}

}  // namespace elastron::ops::cuda
