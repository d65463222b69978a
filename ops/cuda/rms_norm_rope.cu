// A warp per head; a lane has N neighbouring elements of the first half and those that they turn
// with, of the second. A head is read twice; the second time it comes from a cache.
#include "core/cuda/launch.h"
#include "ops/cuda/primitives.h"
#include "ops/cuda/rms_norm_rope.h"
#include "ops/detail/rms_norm_math.h"
#include "ops/detail/rope_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 256;

// Of one head: f(i, a, b) for every piece of N elements at i (first half) and i + half (second).
template <int N, class T, class F>
__device__ __forceinline__ void for_pairs(const T* row, int64_t half, F&& f) {
  for (int64_t i = int64_t(threadIdx.x % kWarp) * N; i < half; i += int64_t(kWarp) * N) {
    f(i, *reinterpret_cast<const Pack<T, N>*>(row + i),
      *reinterpret_cast<const Pack<T, N>*>(row + half + i));
  }
}

template <int N, class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(HeadRows<T> h, T* y, accumulator_t<T>* inv_rms, double eps) {
  using A = accumulator_t<T>;
  const int64_t row = int64_t(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (row >= h.tokens * h.heads) return;  // lanes of a warp agree
  const int64_t half = h.head_dim / 2;
  const T* x = h.x + row * h.head_dim;
  A sum = 0;
  for_pairs<N>(x, half, [&](int64_t, const Pack<T, N>& a, const Pack<T, N>& b) {
#pragma unroll
    for (int k = 0; k < N; ++k) sum += A(a.v[k]) * A(a.v[k]) + A(b.v[k]) * A(b.v[k]);
  });
  const A r = A(1) / sqrt(warp_sum(sum) / A(h.head_dim) + A(eps));
  if (threadIdx.x % kWarp == 0) inv_rms[row] = r;
  const A* cosine = h.table + int64_t(h.positions[row / h.heads]) * h.head_dim;
  const A* sine = cosine + half;
  T* out = y + row * h.head_dim;
  for_pairs<N>(x, half, [&](int64_t i, Pack<T, N> a, Pack<T, N> b) {
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const A first = detail::rounded<T>(detail::rms_norm<T>(A(a.v[k]), r, A(h.w[i + k])));
      const A second = detail::rounded<T>(detail::rms_norm<T>(A(b.v[k]), r, A(h.w[half + i + k])));
      const auto turned = detail::rotate(first, second, cosine[i + k], sine[i + k]);
      detail::put(a.v[k], turned.first);
      detail::put(b.v[k], turned.second);
    }
    *reinterpret_cast<Pack<T, N>*>(out + i) = a;
    *reinterpret_cast<Pack<T, N>*>(out + half + i) = b;
  });
}

template <int N, class T>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(HeadRows<T> h, const T* dy, const accumulator_t<T>* inv_rms, T* dx) {
  using A = accumulator_t<T>;
  const int64_t row = int64_t(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (row >= h.tokens * h.heads) return;
  const int64_t half = h.head_dim / 2;
  const T* x = h.x + row * h.head_dim;
  const A* cosine = h.table + int64_t(h.positions[row / h.heads]) * h.head_dim;
  const A* sine = cosine + half;
  const auto turn_back = [&](int64_t i, const Pack<T, N>& a, const Pack<T, N>& b, int k) {
    const auto d = detail::rotate(A(a.v[k]), A(b.v[k]), cosine[i + k], -sine[i + k]);
    return detail::Pair<A>{detail::rounded<T>(d.first), detail::rounded<T>(d.second)};
  };
  const T* dy_row = dy + row * h.head_dim;
  A dot = 0;
  for_pairs<N>(dy_row, half, [&](int64_t i, const Pack<T, N>& a, const Pack<T, N>& b) {
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const auto d = turn_back(i, a, b, k);
      dot += d.first * A(h.w[i + k]) * A(x[i + k]) +
             d.second * A(h.w[half + i + k]) * A(x[half + i + k]);
    }
  });
  const A r = inv_rms[row], m = warp_sum(dot) * r * r / A(h.head_dim);
  T* out = dx + row * h.head_dim;
  for_pairs<N>(dy_row, half, [&](int64_t i, Pack<T, N> a, Pack<T, N> b) {
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const auto d = turn_back(i, a, b, k);
      detail::put(a.v[k], detail::rms_norm_derivative(d.first, A(x[i + k]), A(h.w[i + k]), r, m));
      detail::put(b.v[k], detail::rms_norm_derivative(d.second, A(x[half + i + k]),
                                                      A(h.w[half + i + k]), r, m));
    }
    *reinterpret_cast<Pack<T, N>*>(out + i) = a;
    *reinterpret_cast<Pack<T, N>*>(out + half + i) = b;
  });
}

LaunchShape over_heads(int64_t rows) {
  return {dim3(unsigned(ceil_div(rows, kThreads / kWarp))), dim3(kThreads)};
}

// Two elements a lane fill a warp where head_dim is 128.
template <class T>
bool in_pairs(const HeadRows<T>& h, const T* other, const T* out) {
  return h.head_dim % 4 == 0 && aligned_for(h.x, 2) && aligned_for(other, 2) && aligned_for(out, 2);
}

}  // namespace

template <class T>
void rms_norm_rope_forward(const HeadRows<T>& h, T* y, accumulator_t<T>* inv_rms, double eps,
                           Stream stream) {
  launch("rms_norm_rope", in_pairs<T>(h, h.x, y) ? forward_kernel<2, T> : forward_kernel<1, T>,
         over_heads(h.tokens * h.heads), stream, h, y, inv_rms, eps);
}

template <class T>
void rms_norm_rope_backward(const HeadRows<T>& h, const T* dy, const accumulator_t<T>* inv_rms,
                            T* dx, Stream stream) {
  launch("rms_norm_rope_backward",
         in_pairs<T>(h, dy, dx) ? backward_kernel<2, T> : backward_kernel<1, T>,
         over_heads(h.tokens * h.heads), stream, h, dy, inv_rms, dx);
}

#define ELASTRON_FOR(T)                                                                          \
  template void rms_norm_rope_forward<T>(const HeadRows<T>&, T*, accumulator_t<T>*, double,      \
                                         Stream);                                                \
  template void rms_norm_rope_backward<T>(const HeadRows<T>&, const T*, const accumulator_t<T>*, \
                                          T*, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
