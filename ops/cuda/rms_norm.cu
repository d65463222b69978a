// One row is summed by kLanes threads: a warp for the heads of q and k, a block for hidden states.
// A row is read twice; the second time it comes from a cache.
#include "core/cuda/launch.h"
#include "ops/cuda/primitives.h"
#include "ops/cuda/rms_norm.h"
#include "ops/detail/rms_norm_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 256;

// The sum over a row's lanes, for all of them.
template <int kLanes, class A>
__device__ __forceinline__ A row_sum(A x, A* scratch) {
  if constexpr (kLanes == kWarp) {
    return warp_sum(x);
  } else {
    return block_sum<kThreads>(x, scratch);
  }
}

template <int kLanes, int N, class T>
__global__ void rms_norm_kernel(const T* x, const T* w, T* y, accumulator_t<T>* inv_rms,
                                int64_t rows, int64_t n, double eps) {
  using A = accumulator_t<T>;
  __shared__ A scratch[kThreads / kWarp];
  const int64_t row = int64_t(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes;
  const int lane = int(threadIdx.x % kLanes);
  const bool here = row < rows;  // lanes of a warp agree
  const T* xr = x + row * n;
  A sum = 0;
  if (here) {
    for (int64_t i = int64_t(lane) * N; i < n; i += int64_t(kLanes) * N) {
      const auto p = *reinterpret_cast<const Pack<T, N>*>(xr + i);
#pragma unroll
      for (int k = 0; k < N; ++k) sum += A(p.v[k]) * A(p.v[k]);
    }
  }
  sum = row_sum<kLanes>(sum, scratch);
  if (!here) return;
  const A r = A(1) / sqrt(sum / A(n) + A(eps));
  if (lane == 0) inv_rms[row] = r;
  T* yr = y + row * n;
  for (int64_t i = int64_t(lane) * N; i < n; i += int64_t(kLanes) * N) {
    const auto p = *reinterpret_cast<const Pack<T, N>*>(xr + i);
    const auto q = *reinterpret_cast<const Pack<T, N>*>(w + i);
    Pack<T, N> out;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      detail::put(out.v[k], detail::rms_norm<T>(A(p.v[k]), r, A(q.v[k])));
    }
    *reinterpret_cast<Pack<T, N>*>(yr + i) = out;
  }
}

template <int kLanes, int N, class T>
__global__ void rms_norm_backward_kernel(const T* dy, const T* x, const T* w,
                                         const accumulator_t<T>* inv_rms, T* dx, bool accumulate,
                                         int64_t rows, int64_t n) {
  using A = accumulator_t<T>;
  __shared__ A scratch[kThreads / kWarp];
  const int64_t row = int64_t(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes;
  const int lane = int(threadIdx.x % kLanes);
  const bool here = row < rows;
  const T *xr = x + row * n, *dyr = dy + row * n;
  A dot = 0;
  if (here) {
    for (int64_t i = int64_t(lane) * N; i < n; i += int64_t(kLanes) * N) {
      const auto a = *reinterpret_cast<const Pack<T, N>*>(dyr + i);
      const auto b = *reinterpret_cast<const Pack<T, N>*>(w + i);
      const auto c = *reinterpret_cast<const Pack<T, N>*>(xr + i);
#pragma unroll
      for (int k = 0; k < N; ++k) dot += A(a.v[k]) * A(b.v[k]) * A(c.v[k]);
    }
  }
  dot = row_sum<kLanes>(dot, scratch);
  if (!here) return;
  const A r = inv_rms[row], m = dot * r * r / A(n);
  T* dxr = dx + row * n;
  for (int64_t i = int64_t(lane) * N; i < n; i += int64_t(kLanes) * N) {
    const auto a = *reinterpret_cast<const Pack<T, N>*>(dyr + i);
    const auto b = *reinterpret_cast<const Pack<T, N>*>(w + i);
    const auto c = *reinterpret_cast<const Pack<T, N>*>(xr + i);
    Pack<T, N> out{};
    if (accumulate) out = *reinterpret_cast<const Pack<T, N>*>(dxr + i);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const A d = detail::rms_norm_derivative(A(a.v[k]), A(c.v[k]), A(b.v[k]), r, m);
      detail::put(out.v[k], accumulate ? A(out.v[k]) + d : d);
    }
    *reinterpret_cast<Pack<T, N>*>(dxr + i) = out;
  }
}

// f.operator()<kLanes, N>() for rows of n elements.
template <class T, class F>
void with_shape(int64_t n, bool aligned, F&& f) {
  constexpr int kN = kPackOf<T>;
  const bool packs = aligned && n % kN == 0;
  const bool narrow = n <= 1024;
  if (packs && narrow) {
    f.template operator()<kWarp, kN>();
  } else if (packs) {
    f.template operator()<kThreads, kN>();
  } else if (narrow) {
    f.template operator()<kWarp, 1>();
  } else {
    f.template operator()<kThreads, 1>();
  }
}

LaunchShape over_rows(int64_t rows, int lanes) {
  return {dim3(unsigned(ceil_div(rows, kThreads / lanes))), dim3(kThreads)};
}

}  // namespace

template <class T>
void rms_norm_forward(const T* x, const T* w, T* y, accumulator_t<T>* inv_rms, int64_t rows,
                      int64_t n, double eps, Stream stream) {
  constexpr int kN = kPackOf<T>;
  with_shape<T>(n, aligned_for(x, kN) && aligned_for(w, kN) && aligned_for(y, kN),
                [&]<int kLanes, int N>() {
                  launch("rms_norm", rms_norm_kernel<kLanes, N, T>, over_rows(rows, kLanes), stream,
                         x, w, y, inv_rms, rows, n, eps);
                });
}

template <class T>
void rms_norm_backward(const T* dy, const T* x, const T* w, const accumulator_t<T>* inv_rms, T* dx,
                       bool accumulate, int64_t rows, int64_t n, Stream stream) {
  constexpr int kN = kPackOf<T>;
  with_shape<T>(
      n, aligned_for(x, kN) && aligned_for(w, kN) && aligned_for(dy, kN) && aligned_for(dx, kN),
      [&]<int kLanes, int N>() {
        launch("rms_norm_backward", rms_norm_backward_kernel<kLanes, N, T>, over_rows(rows, kLanes),
               stream, dy, x, w, inv_rms, dx, accumulate, rows, n);
      });
}

#define ELASTRON_FOR(T)                                                                          \
  template void rms_norm_forward<T>(const T*, const T*, T*, accumulator_t<T>*, int64_t, int64_t, \
                                    double, Stream);                                             \
  template void rms_norm_backward<T>(const T*, const T*, const T*, const accumulator_t<T>*, T*,  \
                                     bool, int64_t, int64_t, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
