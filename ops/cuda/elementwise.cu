#include <algorithm>

#include "core/cuda/launch.h"
#include "ops/cuda/elementwise.h"
#include "ops/cuda/primitives.h"
#include "ops/detail/adamw_math.h"
#include "ops/detail/swiglu_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 65536;

struct Sum {
  template <class A>
  ELASTRON_HD A operator()(A a, A b) const {
    return a + b;
  }
};
template <class A>
struct Scale {
  A factor;
  ELASTRON_HD A operator()(A a) const { return a * factor; }
};
template <class A>
struct Clamp {
  A low, high;
  ELASTRON_HD A operator()(A a) const { return detail::clamped(a, low, high); }
};
struct Same {
  template <class A>
  ELASTRON_HD A operator()(A a) const {
    return a;
  }
};
struct Silu {
  template <class A>
  ELASTRON_HD A operator()(A x) const {
    return detail::silu(x);
  }
};
struct SiluBackward {
  template <class A>
  ELASTRON_HD A operator()(A dy, A x) const {
    return dy * detail::silu_derivative(x);
  }
};
struct Swiglu {
  template <class A>
  ELASTRON_HD A operator()(A gate, A up) const {
    return detail::swiglu(gate, up);
  }
};

template <int N, class F, class Out, class... In>
__device__ __forceinline__ void map_pack(const F& f, Pack<Out, N>& out, const Pack<In, N>&... in) {
#pragma unroll
  for (int k = 0; k < N; ++k) detail::put(out.v[k], f(accumulator_t<In>(in.v[k])...));
}

// out[i] = f(in[i]...), N elements per thread and turn.
template <int N, class F, class Out, class... In>
__global__ void map_kernel(int64_t n, F f, Out* out, const In*... in) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x * N;
  for (int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * N; i < n; i += stride) {
    if (i + N <= n) {
      Pack<Out, N> result;
      map_pack<N>(f, result, *reinterpret_cast<const Pack<In, N>*>(in + i)...);
      *reinterpret_cast<Pack<Out, N>*>(out + i) = result;
    } else {
      for (int64_t j = i; j < n; ++j) detail::put(out[j], f(accumulator_t<In>(in[j])...));
    }
  }
}

template <class F, class Out, class... In>
void map(const char* name, int64_t n, const F& f, Stream stream, Out* out, const In*... in) {
  constexpr int kN = 16 / int(std::max({sizeof(Out), sizeof(In)...}));
  const bool aligned = aligned_for(out, kN) && (aligned_for(in, kN) && ...);
  if (aligned) {
    launch(name, map_kernel<kN, F, Out, In...>, over_items(ceil_div(n, kN), kThreads, kMostBlocks),
           stream, n, f, out, in...);
  } else {
    launch(name, map_kernel<1, F, Out, In...>, over_items(n, kThreads, kMostBlocks), stream, n, f,
           out, in...);
  }
}

template <int N, class T>
__global__ void swiglu_backward_kernel(int64_t n, const T* dh, const T* gate, const T* up,
                                       T* d_gate, T* d_up) {
  using A = accumulator_t<T>;
  const int64_t stride = int64_t(gridDim.x) * blockDim.x * N;
  for (int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * N; i < n; i += stride) {
    const int count = int(n - i < N ? n - i : N);
    if (count == N) {
      const auto h = *reinterpret_cast<const Pack<T, N>*>(dh + i);
      auto g = *reinterpret_cast<const Pack<T, N>*>(gate + i);
      auto u = *reinterpret_cast<const Pack<T, N>*>(up + i);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const auto d = detail::swiglu_derivative(A(h.v[k]), A(g.v[k]), A(u.v[k]));
        detail::put(g.v[k], d.gate);
        detail::put(u.v[k], d.up);
      }
      *reinterpret_cast<Pack<T, N>*>(d_gate + i) = g;
      *reinterpret_cast<Pack<T, N>*>(d_up + i) = u;
    } else {
      for (int64_t j = i; j < n; ++j) {
        const auto d = detail::swiglu_derivative(A(dh[j]), A(gate[j]), A(up[j]));
        detail::put(d_gate[j], d.gate);
        detail::put(d_up[j], d.up);
      }
    }
  }
}

template <int N, class T>
__global__ void sum_parts_kernel(const T* parts, T* sum, int64_t n, int64_t m) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x * N;
  for (int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * N; i < m; i += stride) {
    accumulator_t<T> total[N] = {};
    Pack<T, N> part;
    for (int64_t r = 0; r < n; ++r) {
      part = *reinterpret_cast<const Pack<T, N>*>(parts + r * m + i);
#pragma unroll
      for (int k = 0; k < N; ++k) total[k] += accumulator_t<T>(part.v[k]);
    }
#pragma unroll
    for (int k = 0; k < N; ++k) detail::put(part.v[k], total[k]);
    *reinterpret_cast<Pack<T, N>*>(sum + i) = part;
  }
}

template <class T>
__global__ void add_to_rows_kernel(const T* row, T* y, int64_t n, int64_t m) {
  using A = accumulator_t<T>;
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
    detail::put(y[i], A(y[i]) + A(row[i % m]));
  }
}

template <class A, class V>
__global__ void adamw_kernel(int64_t n, A* master, const A* grad, A* m, A* v, V* value,
                             detail::AdamWConstants<A> c) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
    A p = master[i], first = m[i], second = v[i];
    detail::adamw_update(p, grad[i], first, second, c);
    master[i] = p;
    m[i] = first;
    v[i] = second;
    if (value != nullptr) detail::put(value[i], p);
  }
}

}  // namespace

template <class T>
void add(const T* a, const T* b, T* sum, int64_t n, Stream stream) {
  map("add", n, Sum{}, stream, sum, a, b);
}
template <class T>
void scale_into(T* a, double factor, int64_t n, Stream stream) {
  using A = accumulator_t<T>;
  map("scale", n, Scale<A>{A(factor)}, stream, a, static_cast<const T*>(a));
}
template <class T>
void clamp_into(T* a, double low, double high, int64_t n, Stream stream) {
  using A = accumulator_t<T>;
  map("clamp", n, Clamp<A>{A(low), A(high)}, stream, a, static_cast<const T*>(a));
}
template <class From, class To>
void cast(const From* x, To* y, int64_t n, Stream stream) {
  map("cast", n, Same{}, stream, y, x);
}
template <class T>
void sum_parts(const T* parts, T* sum, int64_t n, int64_t m, Stream stream) {
  constexpr int kN = kPackOf<T>;
  if (m % kN == 0 && aligned_for(parts, kN) && aligned_for(sum, kN)) {
    launch("sum_parts", sum_parts_kernel<kN, T>, over_items(m / kN, kThreads, kMostBlocks), stream,
           parts, sum, n, m);
  } else {
    launch("sum_parts", sum_parts_kernel<1, T>, over_items(m, kThreads, kMostBlocks), stream, parts,
           sum, n, m);
  }
}
template <class T>
void add_to_rows(const T* row, T* y, int64_t n, int64_t m, Stream stream) {
  launch("add_to_rows", add_to_rows_kernel<T>, over_items(n * m, kThreads, kMostBlocks), stream,
         row, y, n * m, m);
}
template <class T>
void silu_forward(const T* x, T* y, int64_t n, Stream stream) {
  map("silu", n, Silu{}, stream, y, x);
}
template <class T>
void silu_backward(const T* dy, const T* x, T* dx, int64_t n, Stream stream) {
  map("silu_backward", n, SiluBackward{}, stream, dx, dy, x);
}
template <class T>
void swiglu_forward(const T* gate, const T* up, T* h, int64_t n, Stream stream) {
  map("swiglu", n, Swiglu{}, stream, h, gate, up);
}
template <class T>
void swiglu_backward(const T* dh, const T* gate, const T* up, T* d_gate, T* d_up, int64_t n,
                     Stream stream) {
  constexpr int kN = kPackOf<T>;
  const bool aligned = aligned_for(dh, kN) && aligned_for(gate, kN) && aligned_for(up, kN) &&
                       aligned_for(d_gate, kN) && aligned_for(d_up, kN);
  if (aligned) {
    launch("swiglu_backward", swiglu_backward_kernel<kN, T>,
           over_items(ceil_div(n, kN), kThreads, kMostBlocks), stream, n, dh, gate, up, d_gate,
           d_up);
  } else {
    launch("swiglu_backward", swiglu_backward_kernel<1, T>, over_items(n, kThreads, kMostBlocks),
           stream, n, dh, gate, up, d_gate, d_up);
  }
}

template <class A, class V>
void adamw_step(A* master, const A* grad, A* m, A* v, V* value, int64_t n, const AdamWSettings& s,
                int64_t step, double grad_scale, Stream stream) {
  launch("adamw", adamw_kernel<A, V>, over_items(n, kThreads, kMostBlocks), stream, n, master, grad,
         m, v, value, detail::AdamWConstants<A>(s, step, grad_scale));
}

#define ELASTRON_FOR(T)                                                                      \
  template void add<T>(const T*, const T*, T*, int64_t, Stream);                             \
  template void scale_into<T>(T*, double, int64_t, Stream);                                  \
  template void clamp_into<T>(T*, double, double, int64_t, Stream);                          \
  template void sum_parts<T>(const T*, T*, int64_t, int64_t, Stream);                        \
  template void add_to_rows<T>(const T*, T*, int64_t, int64_t, Stream);                      \
  template void silu_forward<T>(const T*, T*, int64_t, Stream);                              \
  template void silu_backward<T>(const T*, const T*, T*, int64_t, Stream);                   \
  template void swiglu_forward<T>(const T*, const T*, T*, int64_t, Stream);                  \
  template void swiglu_backward<T>(const T*, const T*, const T*, T*, T*, int64_t, Stream);   \
  template void cast<T, double>(const T*, double*, int64_t, Stream);                         \
  template void cast<T, float>(const T*, float*, int64_t, Stream);                           \
  template void cast<T, bf16>(const T*, bf16*, int64_t, Stream);                             \
  template void adamw_step<float, T>(float*, const float*, float*, float*, T*, int64_t,      \
                                     const AdamWSettings&, int64_t, double, Stream);         \
  template void adamw_step<double, T>(double*, const double*, double*, double*, T*, int64_t, \
                                      const AdamWSettings&, int64_t, double, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
