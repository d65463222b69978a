// One block per query head and part of its keys. Each warp takes every fourth key with a running
// softmax of its own; the four are merged at the end, and the parts of a head by a second kernel.
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

// Keys of a row; its values stand page_rows rows behind them.
template <class T>
__device__ __forceinline__ T* row_of(const CachedHead& head, int64_t row, int64_t page_rows,
                                     int64_t head_dim) {
  return static_cast<T*>(head.pages[row / page_rows]) + row % page_rows * head_dim;
}

// What a part of a head's keys gives; the keys of another are joined to it.
template <class A>
struct PartView {
  A* sums;  // [head_dim]; behind them the largest score, and the total

  __device__ A& largest(int64_t head_dim) const { return sums[head_dim]; }
  __device__ A& total(int64_t head_dim) const { return sums[head_dim + 1]; }
};
template <class A>
__device__ __forceinline__ PartView<A> part_of(A* scratch, int64_t head, int64_t part,
                                               int64_t parts, int64_t head_dim) {
  return {scratch + (head * parts + part) * (head_dim + 2)};
}

// kN: numbers of a row that each lane owns; head_dim <= 32 kN. Grid: query head, part, sequence.
// With one part the result is the output, else a part in `scratch`.
template <int kN, class T>
__global__ void decode_kernel(const T* q, const CachedHead* heads, const int32_t* positions,
                              int64_t kv_heads, int64_t group, int64_t head_dim, int64_t page_rows,
                              accumulator_t<T> scale, accumulator_t<T>* scratch, T* out) {
  using A = accumulator_t<T>;
  __shared__ A most_of[kWarps], total_of[kWarps];
  __shared__ A sums_of[kWarps][kN * kWarp];
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int64_t sequence = blockIdx.z, parts = gridDim.y;
  const int64_t h = sequence * kv_heads * group + blockIdx.x;  // query head
  const int64_t position = positions[sequence];
  const CachedHead head = heads[sequence * kv_heads + blockIdx.x / group];
  const VisibleRows visible = head.rows.visible(position);
  const int64_t all = visible.keys(), begin = blockIdx.y * kKeysOfABlock;
  const int64_t end =
      parts == 1 ? all : (begin + kKeysOfABlock < all ? begin + kKeysOfABlock : all);
  if (begin >= end) return;
  A query[kN], sums[kN];
#pragma unroll
  for (int j = 0; j < kN; ++j) {
    const int i = lane + j * kWarp;
    query[j] = i < head_dim ? A(q[h * head_dim + i]) * scale : A(0);
    sums[j] = 0;
  }
  A most = -std::numeric_limits<A>::infinity(), total = 0;
  for (int64_t n = begin + warp; n < end; n += kWarps) {
    const T* k = row_of<const T>(head, visible.row(n), page_rows, head_dim);
    const T* v = k + page_rows * head_dim;
    A dot = 0;
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      const int i = lane + j * kWarp;
      if (i < head_dim) dot += query[j] * A(k[i]);
    }
    dot = warp_sum(dot);
    const A next = dot > most ? dot : most;
    const A keep = exp(most - next), p = exp(dot - next);
    total = total * keep + p;
    most = next;
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      const int i = lane + j * kWarp;
      const A value = i < head_dim ? A(v[i]) : A(0);
      sums[j] = sums[j] * keep + p * value;
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
  A weight = 0;
  // A warp without a key has a total of 0 and a maximum of -inf.
  for (int w = 0; w < kWarps; ++w) {
    if (total_of[w] != A(0)) weight += exp(most_of[w] - all_most) * total_of[w];
  }
  for (int i = int(threadIdx.x); i < head_dim; i += kThreads) {
    A sum = 0;
    for (int w = 0; w < kWarps; ++w) {
      if (total_of[w] != A(0)) sum += exp(most_of[w] - all_most) * sums_of[w][i];
    }
    if (parts == 1) {
      detail::put(out[h * head_dim + i], sum / weight);
    } else {
      part_of(scratch, h, blockIdx.y, parts, head_dim).sums[i] = sum;
    }
  }
  if (parts > 1 && threadIdx.x == 0) {
    const PartView<A> part = part_of(scratch, h, blockIdx.y, parts, head_dim);
    part.largest(head_dim) = all_most;
    part.total(head_dim) = weight;
  }
}

// Grid: query head, sequence.
template <class T>
__global__ void join_kernel(accumulator_t<T>* scratch, const CachedHead* heads,
                            const int32_t* positions, int64_t kv_heads, int64_t group,
                            int64_t parts, int64_t head_dim, T* out) {
  using A = accumulator_t<T>;
  const int64_t sequence = blockIdx.y, h = sequence * kv_heads * group + blockIdx.x;
  const int64_t position = positions[sequence];
  const int64_t keys =
      heads[sequence * kv_heads + blockIdx.x / group].rows.visible(position).keys();
  const int64_t used = (keys + kKeysOfABlock - 1) / kKeysOfABlock;
  A most = -std::numeric_limits<A>::infinity();
  for (int64_t p = 0; p < used; ++p) {
    const A other = part_of(scratch, h, p, parts, head_dim).largest(head_dim);
    most = other > most ? other : most;
  }
  for (int64_t i = threadIdx.x; i < head_dim; i += blockDim.x) {
    A sum = 0, weight = 0;
    for (int64_t p = 0; p < used; ++p) {
      const PartView<A> part = part_of(scratch, h, p, parts, head_dim);
      const A share = exp(part.largest(head_dim) - most);
      sum += share * part.sums[i];
      weight += share * part.total(head_dim);
    }
    detail::put(out[h * head_dim + i], sum / weight);
  }
}

// A warp for a token's keys or values of a head. Rows are whole numbers of 2 bytes.
__global__ void append_kernel(const uint16_t* k, const uint16_t* v, const int32_t* first,
                              const CachedHead* heads, int64_t page_rows, int64_t tokens,
                              int64_t kv_heads, int64_t row_items) {
  const int64_t sequence = blockIdx.y / kv_heads, h = blockIdx.y % kv_heads;
  const int64_t begin = first[sequence];
  const CachedHead head = heads[blockIdx.y];
  const uint16_t* from = blockIdx.z == 0 ? k : v;
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  for (int64_t t = int64_t(blockIdx.x) * kWarps + warp; t < tokens; t += gridDim.x * kWarps) {
    const int64_t row = head.rows.row(begin + t, begin + tokens - 1);
    if (row < 0) continue;
    uint16_t* to =
        row_of<uint16_t>(head, row, page_rows, row_items) + blockIdx.z * page_rows * row_items;
    for (int64_t i = lane; i < row_items; i += kWarp) {
      to[i] = from[((sequence * tokens + t) * kv_heads + h) * row_items + i];
    }
  }
}

}  // namespace

void append_to_cache(const void* k, const void* v, const int32_t* first, const CachedHead* heads,
                     int64_t page_rows, int64_t sequences, int64_t tokens, int64_t kv_heads,
                     int64_t row_bytes, Stream stream) {
  constexpr int64_t kMostBlocks = 4096;
  const int64_t blocks = std::min(ceil_div(tokens, int64_t(kWarps)), kMostBlocks);
  const LaunchShape shape{dim3(unsigned(blocks), unsigned(sequences * kv_heads), 2),
                          dim3(kThreads)};
  launch("append_to_cache", append_kernel, shape, stream, static_cast<const uint16_t*>(k),
         static_cast<const uint16_t*>(v), first, heads, page_rows, tokens, kv_heads, row_bytes / 2);
}

template <class T>
void decode_attention(const T* q, const CachedHead* heads, const int32_t* positions,
                      const DecodeShape& s, double scale, accumulator_t<T>* scratch, T* out,
                      Stream stream) {
  using A = accumulator_t<T>;
  ELASTRON_CHECK(s.head_dim <= kMostDecodeHeadDim, "decoding on the GPU: head_dim is at most 256");
  const auto q_heads = unsigned(s.kv_heads * s.group);
  const LaunchShape shape{dim3(q_heads, unsigned(s.parts()), unsigned(s.sequences)),
                          dim3(kThreads)};
  const auto run = [&]<int kN>() {
    launch("decode_attention", decode_kernel<kN, T>, shape, stream, q, heads, positions, s.kv_heads,
           s.group, s.head_dim, s.page_rows, A(scale), scratch, out);
  };
  if (s.head_dim <= 64) {
    run.template operator()<2>();
  } else if (s.head_dim <= 128) {
    run.template operator()<4>();
  } else {
    run.template operator()<8>();
  }
  if (s.parts() == 1) return;
  launch("decode_attention parts", join_kernel<T>,
         LaunchShape{dim3(q_heads, unsigned(s.sequences)), dim3(kThreads)}, stream, scratch, heads,
         positions, s.kv_heads, s.group, s.parts(), s.head_dim, out);
}

#define ELASTRON_FOR(T)                                                          \
  template void decode_attention<T>(const T*, const CachedHead*, const int32_t*, \
                                    const DecodeShape&, double, accumulator_t<T>*, T*, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
