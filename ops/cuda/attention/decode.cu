// One block per query head. Each warp takes every fourth key with a running softmax of its own; the
// four are merged at the end.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/cuda/launch.h"
#include "core/error.h"
#include "ops/cuda/attention/decode.h"
#include "ops/cuda/primitives.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarp;

// kN: numbers of a row that each lane owns; head_dim <= 32 kN.
template <int kN, class T>
__global__ void decode_kernel(const T* q, const DecodeHead* heads, const int32_t* position,
                              int64_t group, int64_t head_dim, accumulator_t<T> scale, T* out) {
  using A = accumulator_t<T>;
  __shared__ A most_of[kWarps], total_of[kWarps];
  __shared__ A sums_of[kWarps][kN * kWarp];
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int64_t h = blockIdx.x;
  const DecodeHead head = heads[h / group];
  const VisibleRows visible = head.rows.visible(position[0]);
  const T *k = static_cast<const T*>(head.k), *v = static_cast<const T*>(head.v);
  A query[kN], sums[kN];
#pragma unroll
  for (int j = 0; j < kN; ++j) {
    const int i = lane + j * kWarp;
    query[j] = i < head_dim ? A(q[h * head_dim + i]) * scale : A(0);
    sums[j] = 0;
  }
  A most = -std::numeric_limits<A>::infinity(), total = 0;
  for (int n = 0; n < 3; ++n) {
    for (int64_t r = visible.ranges[n].begin + warp; r < visible.ranges[n].end; r += kWarps) {
      A dot = 0;
#pragma unroll
      for (int j = 0; j < kN; ++j) {
        const int i = lane + j * kWarp;
        if (i < head_dim) dot += query[j] * A(k[r * head_dim + i]);
      }
      dot = warp_sum(dot);
      const A next = dot > most ? dot : most;
      const A keep = exp(most - next), p = exp(dot - next);
      total = total * keep + p;
      most = next;
#pragma unroll
      for (int j = 0; j < kN; ++j) {
        const int i = lane + j * kWarp;
        const A value = i < head_dim ? A(v[r * head_dim + i]) : A(0);
        sums[j] = sums[j] * keep + p * value;
      }
    }
  }
  if (lane == 0) {
    most_of[warp] = most;
    total_of[warp] = total;
  }
#pragma unroll
  for (int j = 0; j < kN; ++j) sums_of[warp][lane + j * kWarp] = sums[j];
  __syncthreads();
  A all_most = most_of[0];
  for (int w = 1; w < kWarps; ++w) all_most = most_of[w] > all_most ? most_of[w] : all_most;
  for (int i = int(threadIdx.x); i < head_dim; i += kThreads) {
    A sum = 0, weight = 0;
    for (int w = 0; w < kWarps; ++w) {
      // A warp without a key has a total of 0 and a maximum of -inf.
      const A share = total_of[w] == A(0) ? A(0) : exp(most_of[w] - all_most);
      sum += share * sums_of[w][i];
      weight += share * total_of[w];
    }
    detail::put(out[h * head_dim + i], sum / weight);
  }
}

// A warp for a token's keys or values of a head. Rows are whole numbers of 2 bytes.
__global__ void append_kernel(const uint16_t* k, const uint16_t* v, const int32_t* first,
                              const DecodeHead* heads, int64_t tokens, int64_t kv_heads,
                              int64_t row_items) {
  const int64_t h = blockIdx.y, begin = first[0];
  const CacheRows rows = heads[h].rows;
  const uint16_t* from = blockIdx.z == 0 ? k : v;
  auto* to = static_cast<uint16_t*>(const_cast<void*>(blockIdx.z == 0 ? heads[h].k : heads[h].v));
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  for (int64_t t = int64_t(blockIdx.x) * kWarps + warp; t < tokens; t += gridDim.x * kWarps) {
    const int64_t row = rows.row(begin + t, begin + tokens - 1);
    if (row < 0) continue;
    for (int64_t i = lane; i < row_items; i += kWarp) {
      to[row * row_items + i] = from[(t * kv_heads + h) * row_items + i];
    }
  }
}

}  // namespace

void append_to_cache(const void* k, const void* v, const int32_t* first, const DecodeHead* heads,
                     int64_t tokens, int64_t kv_heads, int64_t row_bytes, Stream stream) {
  constexpr int64_t kMostBlocks = 4096;
  const int64_t blocks = std::min(ceil_div(tokens, int64_t(kWarps)), kMostBlocks);
  const LaunchShape shape{dim3(unsigned(blocks), unsigned(kv_heads), 2), dim3(kThreads)};
  launch("append_to_cache", append_kernel, shape, stream, static_cast<const uint16_t*>(k),
         static_cast<const uint16_t*>(v), first, heads, tokens, kv_heads, row_bytes / 2);
}

template <class T>
void decode_attention(const T* q, const DecodeHead* heads, const int32_t* position, int64_t q_heads,
                      int64_t group, int64_t head_dim, double scale, T* out, Stream stream) {
  using A = accumulator_t<T>;
  ELASTRON_CHECK(head_dim <= kMostDecodeHeadDim, "decoding on the GPU: head_dim is at most 256");
  const LaunchShape shape{dim3(unsigned(q_heads)), dim3(kThreads)};
  const auto run = [&]<int kN>() {
    launch("decode_attention", decode_kernel<kN, T>, shape, stream, q, heads, position, group,
           head_dim, A(scale), out);
  };
  if (head_dim <= 64) return run.template operator()<2>();
  if (head_dim <= 128) return run.template operator()<4>();
  run.template operator()<8>();
}

#define ELASTRON_FOR(T)                                                                            \
  template void decode_attention<T>(const T*, const DecodeHead*, const int32_t*, int64_t, int64_t, \
                                    int64_t, double, T*, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
