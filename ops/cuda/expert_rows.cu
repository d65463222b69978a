#include "core/cuda/launch.h"
#include "ops/cuda/expert_rows.h"
#include "ops/cuda/primitives.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int64_t kMostBlocks = 65536;

// A block per expert: it counts the slots of lower ones, which is where its rows begin, and gives
// its own slots their rows in their order. Whole numbers, so that every order of sums is one.
__global__ void __launch_bounds__(kThreads)
    rows_by_expert_kernel(const int32_t* chosen, int64_t slots, int k, int32_t* bounds,
                          int32_t* tokens, int32_t* slot_of, int32_t* places) {
  __shared__ int scratch[kWarps];
  __shared__ int warps[kWarps];
  const int expert = int(blockIdx.x), warp = int(threadIdx.x) / kWarp,
            lane = int(threadIdx.x) % kWarp;
  int lower = 0;
  for (int64_t s = threadIdx.x; s < slots; s += kThreads) lower += chosen[s] < expert ? 1 : 0;
  int row = block_sum<kThreads>(lower, scratch);
  if (threadIdx.x == 0) {
    bounds[expert] = row;
    if (expert + 1 == int(gridDim.x)) bounds[expert + 1] = int32_t(slots);
  }
  for (int64_t first = 0; first < slots; first += kThreads) {
    const int64_t s = first + threadIdx.x;
    const bool mine = s < slots && chosen[s] == expert;
    const unsigned all = __ballot_sync(kAllLanes, mine);
    if (lane == 0) warps[warp] = __popc(all);
    __syncthreads();
    int at = row + __popc(all & ((1u << lane) - 1));
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) at += warps[w];
      row += warps[w];
    }
    __syncthreads();
    if (mine) {
      tokens[at] = int32_t(s / k);
      slot_of[at] = int32_t(s);
      places[s] = at;
    }
  }
}

// A block per token, for columns that neighbouring threads have. N elements move as one.
template <int N, class T>
__global__ void __launch_bounds__(kThreads)
    sum_expert_rows_kernel(const T* x, const int32_t* places, const accumulator_t<T>* weights, T* y,
                           int64_t tokens, int k, int64_t n) {
  using A = accumulator_t<T>;
  for (int64_t t = blockIdx.x; t < tokens; t += gridDim.x) {
    for (int64_t c = int64_t(threadIdx.x) * N; c < n; c += int64_t(kThreads) * N) {
      A sum[N] = {};
      for (int64_t slot = t * k; slot < (t + 1) * k; ++slot) {
        const auto row = *reinterpret_cast<const Pack<T, N>*>(x + places[slot] * n + c);
        const A weight = weights == nullptr ? A(1) : weights[slot];
#pragma unroll
        for (int i = 0; i < N; ++i) sum[i] += weight * A(row.v[i]);
      }
      Pack<T, N> out;
#pragma unroll
      for (int i = 0; i < N; ++i) detail::put(out.v[i], sum[i]);
      *reinterpret_cast<Pack<T, N>*>(y + t * n + c) = out;
    }
  }
}

// A block per row.
template <int N, class T>
__global__ void __launch_bounds__(kThreads)
    weigh_expert_gradient_kernel(T* d_h, const T* h, const int32_t* slots,
                                 const accumulator_t<T>* weights, accumulator_t<T>* d_weights,
                                 int64_t rows, int64_t n) {
  using A = accumulator_t<T>;
  __shared__ A scratch[kWarps];
  for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const int32_t slot = slots[r];
    const A weight = weights[slot];
    A sum = 0;
    for (int64_t c = int64_t(threadIdx.x) * N; c < n; c += int64_t(kThreads) * N) {
      auto* place = reinterpret_cast<Pack<T, N>*>(d_h + r * n + c);
      Pack<T, N> d = *place;
      const auto other = *reinterpret_cast<const Pack<T, N>*>(h + r * n + c);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        sum += A(d.v[i]) * A(other.v[i]);
        detail::put(d.v[i], A(d.v[i]) * weight);
      }
      *place = d;
    }
    sum = block_sum<kThreads>(sum, scratch);
    if (threadIdx.x == 0) d_weights[slot] = sum;
    __syncthreads();
  }
}

LaunchShape block_each(int64_t rows) {
  LaunchShape shape = over_items(rows, 1, kMostBlocks);
  shape.block.x = kThreads;
  return shape;
}

}  // namespace

void rows_by_expert(const int32_t* chosen, int64_t slots, int64_t k, int64_t experts,
                    int32_t* bounds, int32_t* tokens, int32_t* slot_of, int32_t* places,
                    Stream stream) {
  launch("rows_by_expert", rows_by_expert_kernel,
         LaunchShape{dim3(unsigned(experts)), dim3(kThreads)}, stream, chosen, slots, int(k),
         bounds, tokens, slot_of, places);
}

template <class T>
void sum_expert_rows(const T* x, const int32_t* places, const accumulator_t<T>* weights, T* y,
                     int64_t tokens, int64_t k, int64_t n, Stream stream) {
  constexpr int kN = kPackOf<T>;
  const bool packs = n % kN == 0 && aligned_for(x, kN) && aligned_for(y, kN);
  launch("sum_expert_rows", packs ? sum_expert_rows_kernel<kN, T> : sum_expert_rows_kernel<1, T>,
         block_each(tokens), stream, x, places, weights, y, tokens, int(k), n);
}
template <class T>
void weigh_expert_gradient(T* d_h, const T* h, const int32_t* slots,
                           const accumulator_t<T>* weights, accumulator_t<T>* d_weights,
                           int64_t rows, int64_t n, Stream stream) {
  constexpr int kN = kPackOf<T>;
  const bool packs = n % kN == 0 && aligned_for(d_h, kN) && aligned_for(h, kN);
  launch("weigh_expert_gradient",
         packs ? weigh_expert_gradient_kernel<kN, T> : weigh_expert_gradient_kernel<1, T>,
         block_each(rows), stream, d_h, h, slots, weights, d_weights, rows, n);
}

#define ELASTRON_FOR(T)                                                                            \
  template void sum_expert_rows<T>(const T*, const int32_t*, const accumulator_t<T>*, T*, int64_t, \
                                   int64_t, int64_t, Stream);                                      \
  template void weigh_expert_gradient<T>(T*, const T*, const int32_t*, const accumulator_t<T>*,    \
                                         accumulator_t<T>*, int64_t, int64_t, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
