// A block takes a few rows through all layers, whose numbers lie in shared memory. What limits it
// is reading weights from the L2 cache: every warp has several of their rows on the way at once.
// The order of additions does not depend on how many rows a block has.
#include <algorithm>

#include "core/cuda/launch.h"
#include "ops/cuda/mlp_chain.h"
#include "ops/cuda/primitives.h"
#include "ops/detail/swiglu_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 512, kWarps = kThreads / kWarp;
constexpr int kOutputs = 4;  // of a layer, that a warp computes at once
// Beyond so many rows a block takes several: each SM has one then.
constexpr int64_t kRowsAlone = 256;
constexpr int kRowsTogether = 4;

template <class W, class T, int R, int N>
__global__ void __launch_bounds__(kThreads) forward_kernel(ChainArgs<W, T> a) {
  W* in = dynamic_shared_memory<W>();
  W* out = in + R * a.width;
  const int64_t first = int64_t(blockIdx.x) * R;
  const int rows = int(a.rows - first < R ? a.rows - first : R);
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int x_width = a.layer[0].in;
  for (int i = int(threadIdx.x); i < R * x_width; i += kThreads) {
    const int r = i / x_width, c = i % x_width;
    const W x = r < rows ? a.x[(first + r) * x_width + c] : W(0);
    in[r * a.width + c] = detail::rounded<T>(x);
  }
  __syncthreads();
  for (int l = 0; l < a.layers; ++l) {
    const ChainLayerArgs<W, T>& layer = a.layer[l];
    if (layer.input != nullptr) {
      for (int i = int(threadIdx.x); i < rows * layer.in; i += kThreads) {
        const int r = i / layer.in, c = i % layer.in;
        detail::put(layer.input[(first + r) * layer.in + c], in[r * a.width + c]);
      }
    }
    for (int o = warp * kOutputs; o < layer.out; o += kWarps * kOutputs) {
      W sum[kOutputs][R] = {};
      for (int c = lane * N; c < layer.in; c += kWarp * N) {
        Pack<W, N> w[kOutputs];
#pragma unroll
        for (int k = 0; k < kOutputs; ++k) {
          const int row = o + k < layer.out ? o + k : o;
          w[k] = *reinterpret_cast<const Pack<W, N>*>(layer.weight + int64_t(row) * layer.in + c);
        }
#pragma unroll
        for (int n = 0; n < N; ++n) {
#pragma unroll
          for (int r = 0; r < R; ++r) {
            const W x = in[r * a.width + c + n];
#pragma unroll
            for (int k = 0; k < kOutputs; ++k) sum[k][r] += detail::rounded<T>(w[k].v[n]) * x;
          }
        }
      }
#pragma unroll
      for (int k = 0; k < kOutputs; ++k) {
#pragma unroll
        for (int r = 0; r < R; ++r) {
          const W total = warp_sum(sum[k][r]);
          if (lane != 0 || r >= rows || o + k >= layer.out) continue;
          W y = detail::rounded<T>(total + detail::rounded<T>(layer.bias[o + k]));
          if (layer.before != nullptr) {
            detail::put(layer.before[(first + r) * layer.out + o + k], y);
          }
          if (layer.silu) y = detail::rounded<T>(detail::silu(y));
          out[r * a.width + o + k] = y;
        }
      }
    }
    __syncthreads();
    W* const next = out;
    out = in;
    in = next;
  }
  const int y_width = a.layer[a.layers - 1].out;
  for (int i = int(threadIdx.x); i < rows * y_width; i += kThreads) {
    const int r = i / y_width, c = i % y_width;
    a.y[(first + r) * y_width + c] = in[r * a.width + c];
  }
}

// The gradient goes through the layers from the last one: in each a thread has N columns of the
// weight and every `groups`-th of its rows, whose sums are added up in order.
template <class W, class T, int R, int N>
__global__ void __launch_bounds__(kThreads) backward_kernel(ChainArgs<W, T> a) {
  W* d = dynamic_shared_memory<W>();
  W* partial = d + R * a.width;  // [groups][R][in], at most the width or N * kThreads a row
  const int64_t first = int64_t(blockIdx.x) * R;
  const int rows = int(a.rows - first < R ? a.rows - first : R);
  const int y_width = a.layer[a.layers - 1].out;
  for (int i = int(threadIdx.x); i < R * y_width; i += kThreads) {
    const int r = i / y_width, c = i % y_width;
    const W dy = r < rows ? a.x[(first + r) * y_width + c] : W(0);
    d[r * a.width + c] = detail::rounded<T>(dy);
  }
  __syncthreads();
  for (int l = a.layers - 1; l >= 0; --l) {
    const ChainLayerArgs<W, T>& layer = a.layer[l];
    for (int i = int(threadIdx.x); i < rows * layer.out; i += kThreads) {
      const int r = i / layer.out, c = i % layer.out;
      const int64_t at = (first + r) * layer.out + c;
      W value = d[r * a.width + c];
      if (layer.silu) {
        value = detail::rounded<T>(value * detail::silu_derivative(W(layer.before[at])));
        d[r * a.width + c] = value;
      }
      detail::put(layer.d_out[at], value);
    }
    if (l == 0 && a.y == nullptr) return;
    __syncthreads();
    const int packs = layer.in / N, thread = int(threadIdx.x);
    const bool several = packs < kThreads;
    const int groups = several ? kThreads / packs : 1, group = several ? thread / packs : 0;
    for (int p = several ? thread % packs : thread; p < packs && group < groups; p += kThreads) {
      W sum[R][N] = {};
#pragma unroll 4
      for (int o = group; o < layer.out; o += groups) {
        const auto w =
            *reinterpret_cast<const Pack<W, N>*>(layer.weight + int64_t(o) * layer.in + p * N);
#pragma unroll
        for (int r = 0; r < R; ++r) {
          const W value = d[r * a.width + o];
#pragma unroll
          for (int n = 0; n < N; ++n) sum[r][n] += value * detail::rounded<T>(w.v[n]);
        }
      }
#pragma unroll
      for (int r = 0; r < R; ++r) {
#pragma unroll
        for (int n = 0; n < N; ++n) partial[(group * R + r) * layer.in + p * N + n] = sum[r][n];
      }
    }
    __syncthreads();
    for (int i = int(threadIdx.x); i < rows * layer.in; i += kThreads) {
      const int r = i / layer.in, c = i % layer.in;
      W sum = 0;
      for (int g = 0; g < groups; ++g) sum += partial[(g * R + r) * layer.in + c];
      sum = detail::rounded<T>(sum);
      d[r * a.width + c] = sum;
      if (l == 0) a.y[(first + r) * layer.in + c] = sum;
    }
    __syncthreads();
  }
}

// Items: of each layer its weight in pieces of N columns, then its bias.
struct Items {
  int32_t weight, all;
};
template <int N>
__host__ __device__ Items items_of(int32_t in, int32_t out) {
  const int32_t weight = out * (in / N);
  return {weight, weight + out};
}

template <class W, class T, int N>
__global__ void __launch_bounds__(kThreads) gradient_kernel(ChainArgs<W, T> a) {
  int64_t item = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  for (int l = 0; l < a.layers; ++l) {
    const ChainLayerArgs<W, T>& layer = a.layer[l];
    const Items items = items_of<N>(layer.in, layer.out);
    if (item >= items.all) {
      item -= items.all;
      continue;
    }
    if (item >= items.weight) {
      const int64_t o = item - items.weight;
      W sum = 0;
      for (int64_t r = 0; r < a.rows; ++r) sum += W(layer.d_out[r * layer.out + o]);
      layer.d_bias[o] += sum;
      return;
    }
    const int64_t packs = layer.in / N, o = item / packs, c = item % packs * N;
    W sum[N] = {};
#pragma unroll 4
    for (int64_t r = 0; r < a.rows; ++r) {
      const W d = W(layer.d_out[r * layer.out + o]);
      const auto x = *reinterpret_cast<const Pack<T, N>*>(layer.input + r * layer.in + c);
#pragma unroll
      for (int n = 0; n < N; ++n) sum[n] += d * W(x.v[n]);
    }
    W* to = layer.d_weight + o * layer.in + c;
#pragma unroll
    for (int n = 0; n < N; ++n) to[n] += sum[n];
    return;
  }
}

template <class W, class T>
bool in_packs(const ChainArgs<W, T>& a, int n) {
  for (int l = 0; l < a.layers; ++l) {
    const auto& layer = a.layer[l];
    if (layer.in % n != 0 || !aligned_for(layer.weight, n)) return false;
    if (layer.input != nullptr && !aligned_for(layer.input, n)) return false;
  }
  return true;
}

// f.operator()<R, N>()
template <class W, class T, class F>
void with_shape(const ChainArgs<W, T>& a, F&& f) {
  constexpr int kN = kPackOf<W>;
  const bool together = a.rows > kRowsAlone, packs = in_packs(a, kN);
  if (together && packs) {
    f.template operator()<kRowsTogether, kN>();
  } else if (together) {
    f.template operator()<kRowsTogether, 1>();
  } else if (packs) {
    f.template operator()<1, kN>();
  } else {
    f.template operator()<1, 1>();
  }
}

}  // namespace

template <class W, class T>
void mlp_chain_forward(const ChainArgs<W, T>& a, Stream stream) {
  with_shape(a, [&]<int R, int N>() {
    launch(
        "mlp_chain", forward_kernel<W, T, R, N>,
        {dim3(unsigned(ceil_div(a.rows, R))), dim3(kThreads), sizeof(W) * 2 * R * size_t(a.width)},
        stream, a);
  });
}

template <class W, class T>
void mlp_chain_backward(const ChainArgs<W, T>& a, Stream stream) {
  with_shape(a, [&]<int R, int N>() {
    const int columns = std::max(a.width, kThreads * N);
    launch("mlp_chain_backward", backward_kernel<W, T, R, N>,
           {dim3(unsigned(ceil_div(a.rows, R))), dim3(kThreads),
            sizeof(W) * R * size_t(a.width + columns)},
           stream, a);
    int64_t items = 0;
    for (int l = 0; l < a.layers; ++l) items += items_of<N>(a.layer[l].in, a.layer[l].out).all;
    launch("mlp_chain_gradients", gradient_kernel<W, T, N>, over_items(items, kThreads), stream, a);
  });
}

#define ELASTRON_FOR(W, T)                                               \
  template void mlp_chain_forward<W, T>(const ChainArgs<W, T>&, Stream); \
  template void mlp_chain_backward<W, T>(const ChainArgs<W, T>&, Stream);
ELASTRON_FOR(double, double)
ELASTRON_FOR(float, float)
ELASTRON_FOR(float, bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
