// One block per (row, query head). Each warp takes every eighth key, its lanes the numbers of a key
// in turn; the warps' best keys are compared at the end.
#include <limits>

#include "core/cuda/launch.h"
#include "ops/cuda/attention/argmax.h"
#include "ops/cuda/primitives.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp;

template <class T>
__global__ void argmax_kernel(const T* q, const T* k, const QueryRow* rows, int64_t q_heads,
                              int64_t kv_heads, int64_t head_dim, int32_t* out) {
  using A = accumulator_t<T>;
  __shared__ A most_of[kWarps];
  __shared__ int32_t best_of[kWarps];
  A* query = dynamic_shared_memory<A>();
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int64_t h = blockIdx.y;
  const QueryRow row = rows[blockIdx.x];
  const T* from = q + (row.query * q_heads + h) * head_dim;
  for (int64_t i = threadIdx.x; i < head_dim; i += kThreads) query[i] = A(from[i]);
  __syncthreads();

  const T* keys = k + h / (q_heads / kv_heads) * head_dim;
  A most = -std::numeric_limits<A>::infinity();
  int32_t best = row.first_key;
  for (int32_t j = row.first_key + warp; j <= row.query; j += kWarps) {
    const T* key = keys + j * kv_heads * head_dim;
    A dot = 0;
    for (int64_t i = lane; i < head_dim; i += kWarp) dot += query[i] * A(key[i]);
    dot = warp_sum(dot);
    if (dot > most) {
      most = dot;
      best = j;
    }
  }
  if (lane == 0) {
    most_of[warp] = most;
    best_of[warp] = best;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kWarps; ++w) {
    if (most_of[w] > most || (most_of[w] == most && best_of[w] < best)) {
      most = most_of[w];
      best = best_of[w];
    }
  }
  out[blockIdx.x * q_heads + h] = best;
}

}  // namespace

template <class T>
void attention_argmax(const T* q, const T* k, const QueryRow* rows, int64_t count, int64_t q_heads,
                      int64_t kv_heads, int64_t head_dim, int32_t* out, Stream stream) {
  const LaunchShape shape{dim3(unsigned(count), unsigned(q_heads)), dim3(kThreads),
                          size_t(head_dim) * sizeof(accumulator_t<T>)};
  launch("attention_argmax", argmax_kernel<T>, shape, stream, q, k, rows, q_heads, kv_heads,
         head_dim, out);
}

#define ELASTRON_FOR(T)                                                                    \
  template void attention_argmax<T>(const T*, const T*, const QueryRow*, int64_t, int64_t, \
                                    int64_t, int64_t, int32_t*, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
