#include <algorithm>
#include <limits>

#include "core/cuda/launch.h"
#include "ops/cross_entropy.h"
#include "ops/cuda/primitives.h"
#include "ops/cuda/token_ops.h"
#include "ops/detail/cross_entropy_math.h"
#include "ops/detail/pool_runs.h"
#include "ops/detail/rope_math.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1 << 20;

// A thread turns N neighbouring pairs of one head.
template <int N, class T>
__global__ void rope_kernel(T* x, int64_t token_stride, const int32_t* positions,
                            const accumulator_t<T>* table, int64_t tokens, int64_t heads,
                            int64_t half, accumulator_t<T> sign) {
  using A = accumulator_t<T>;
  const int64_t pieces = half / N, all = tokens * heads * pieces;
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t item = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; item < all; item += stride) {
    const int64_t piece = item % pieces, head = item / pieces % heads;
    const int64_t token = item / pieces / heads;
    const int64_t i = piece * N;
    T* first = x + token * token_stride + head * 2 * half + i;
    const A* cosine = table + int64_t(positions[token]) * 2 * half + i;
    auto a = *reinterpret_cast<Pack<T, N>*>(first);
    auto b = *reinterpret_cast<Pack<T, N>*>(first + half);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const auto turned = detail::rotate(A(a.v[k]), A(b.v[k]), cosine[k], sign * cosine[half + k]);
      detail::put(a.v[k], turned.first);
      detail::put(b.v[k], turned.second);
    }
    *reinterpret_cast<Pack<T, N>*>(first) = a;
    *reinterpret_cast<Pack<T, N>*>(first + half) = b;
  }
}

template <int N, class T>
__global__ void embedding_kernel(const int32_t* ids, const T* table, T* y, int64_t tokens,
                                 int64_t rows, int64_t hidden, int64_t first_row) {
  const int64_t pieces = hidden / N;
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t item = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; item < tokens * pieces;
       item += stride) {
    const int64_t token = item / pieces, i = item % pieces * N;
    const int64_t row = int64_t(ids[token]) - first_row;
    Pack<T, N> p{};
    if (row >= 0 && row < rows) p = *reinterpret_cast<const Pack<T, N>*>(table + row * hidden + i);
    *reinterpret_cast<Pack<T, N>*>(y + token * hidden + i) = p;
  }
}

// A thread owns one column of the table's rows that are `bucket` modulo the number of buckets, so
// that every row's additions happen in the order of the tokens.
template <class T>
__global__ void embedding_backward_kernel(const T* dy, const int32_t* ids, accumulator_t<T>* dtable,
                                          int64_t tokens, int64_t rows, int64_t hidden,
                                          int64_t first_row) {
  using A = accumulator_t<T>;
  const int64_t column = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= hidden) return;
  for (int64_t token = 0; token < tokens; ++token) {
    const int64_t row = int64_t(ids[token]) - first_row;
    if (row < 0 || row >= rows || row % gridDim.y != blockIdx.y) continue;
    dtable[row * hidden + column] += A(dy[token * hidden + column]);
  }
}

constexpr int kPoolColumns = 64, kPoolLanes = 4;  // a block: columns x lanes that share the tokens

template <class T>
__global__ void pool_kernel(const T* k, int64_t stride, int64_t width, const PoolSegment* segments,
                            PoolRule rule, accumulator_t<T>* pooled) {
  using A = accumulator_t<T>;
  __shared__ A partial[kPoolLanes][kPoolColumns];
  const int column_in_block = int(threadIdx.x) % kPoolColumns;
  const int lane = int(threadIdx.x) / kPoolColumns;
  const int64_t column = int64_t(blockIdx.y) * kPoolColumns + column_in_block;
  const detail::PoolRuns runs = detail::pool_runs(segments[blockIdx.x], rule);
  A sum = 0;
  if (column < width) {
    for (const detail::PoolRun& run : runs.run) {
      A part = 0;
      for (int64_t t = run.begin + lane; t < run.end; t += kPoolLanes) {
        part += A(k[t * stride + column]);
      }
      sum += A(run.times) * part;
    }
  }
  partial[lane][column_in_block] = sum;
  __syncthreads();
  if (lane != 0 || column >= width) return;
  for (int i = 1; i < kPoolLanes; ++i) sum += partial[i][column_in_block];
  pooled[int64_t(blockIdx.x) * width + column] = runs.count == 0 ? A(0) : sum / A(runs.count);
}

// The token that is pooled as number `place` of a segment, and how often it counts; -1 beyond them.
struct PooledToken {
  int64_t token = -1, times = 0;
};
__device__ __forceinline__ PooledToken pooled_token(const detail::PoolRuns& runs, int64_t place) {
  for (const detail::PoolRun& run : runs.run) {
    const int64_t length = run.end - run.begin;
    if (place < length) return {run.begin + place, run.times};
    place -= length;
  }
  return {};
}

// blockIdx.x: the segment; the blocks of a segment share its tokens.
template <class T>
__global__ void pool_backward_kernel(const accumulator_t<T>* d_pooled, int64_t stride,
                                     int64_t width, const PoolSegment* segments, PoolRule rule,
                                     T* dk) {
  using A = accumulator_t<T>;
  const detail::PoolRuns runs = detail::pool_runs(segments[blockIdx.x], rule);
  const A* d = d_pooled + int64_t(blockIdx.x) * width;
  for (int64_t place = blockIdx.y;; place += gridDim.y) {
    const PooledToken pooled = pooled_token(runs, place);
    if (pooled.token < 0) return;
    const A share = A(pooled.times) / A(runs.count);
    T* row = dk + pooled.token * stride;
    for (int64_t i = threadIdx.x; i < width; i += blockDim.x) {
      detail::put(row[i], A(row[i]) + share * d[i]);
    }
  }
}

// One block per row: the largest logit with the least index, then the sum of exponentials. A thread
// reads N neighbours at a time; N divides `shard`.
template <int N, class T>
__global__ void cross_entropy_kernel(const T* logits, const int32_t* labels, int64_t shard,
                                     int64_t first_id, double* parts) {
  using A = accumulator_t<T>;
  constexpr int kWarps = kThreads / kWarp;
  __shared__ A most_of[kWarps];
  __shared__ int64_t first_of[kWarps];
  __shared__ A sums[kWarps];
  const int64_t row = blockIdx.x;
  const T* l = logits + row * shard;
  A most = -std::numeric_limits<A>::infinity();
  int64_t first = shard;
  for (int64_t i = int64_t(threadIdx.x) * N; i < shard; i += kThreads * N) {
    const auto pack = *reinterpret_cast<const Pack<T, N>*>(l + i);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const A x = A(pack.v[k]);
      if (x > most) {
        most = x;
        first = i + k;
      }
    }
  }
  const auto take = [&](A other, int64_t other_first) {
    if (other > most || (other == most && other_first < first)) {
      most = other;
      first = other_first;
    }
  };
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    const A other = __shfl_xor_sync(kAllLanes, most, lanes);
    const int64_t other_first = __shfl_xor_sync(kAllLanes, first, lanes);
    take(other, other_first);
  }
  if (threadIdx.x % kWarp == 0) {
    most_of[threadIdx.x / kWarp] = most;
    first_of[threadIdx.x / kWarp] = first;
  }
  __syncthreads();
  for (int i = 0; i < kWarps; ++i) take(most_of[i], first_of[i]);
  A sum = 0;
  for (int64_t i = int64_t(threadIdx.x) * N; i < shard; i += kThreads * N) {
    const auto pack = *reinterpret_cast<const Pack<T, N>*>(l + i);
#pragma unroll
    for (int k = 0; k < N; ++k) sum += detail::fast_exp(A(pack.v[k]) - most);
  }
  sum = block_sum<kThreads>(sum, sums);
  if (threadIdx.x != 0) return;
  const int64_t label = int64_t(labels[row]) - first_id;
  const auto part = [=](int i) -> double& { return parts[i * int64_t(gridDim.x) + row]; };
  part(detail::kPartMax) = double(most);
  part(detail::kPartSumExp) = double(sum);
  part(detail::kPartArgmax) = double(first_id + (first < shard ? first : 0));  // no number: first
  part(detail::kPartTarget) = label >= 0 && label < shard ? double(A(l[label])) : 0.0;
}

template <class A>
__global__ void cross_entropy_combine_kernel(const double* parts, int64_t shards, int64_t rows,
                                             A* lse, double* loss, int32_t* argmax) {
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  const auto whole = detail::combine_row(parts, shards, rows, row);
  lse[row] = A(whole.lse);
  loss[row] = whole.loss;
  argmax[row] = whole.argmax;
}

template <int N, class T>
__global__ void cross_entropy_backward_kernel(T* logits, const int32_t* labels,
                                              const accumulator_t<T>* lse, int64_t shard,
                                              int64_t first_id, accumulator_t<T> scale) {
  using A = accumulator_t<T>;
  const int64_t row = blockIdx.y;
  const int64_t label = labels[row] == kIgnoreLabel ? -1 : int64_t(labels[row]) - first_id;
  const A keep = labels[row] == kIgnoreLabel ? A(0) : scale;
  const A shift = lse[row];
  T* l = logits + row * shard;
  const int64_t stride = int64_t(gridDim.x) * blockDim.x * N;
  for (int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * N; i < shard; i += stride) {
    auto pack = *reinterpret_cast<const Pack<T, N>*>(l + i);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const A p = keep == A(0) ? A(0) : detail::fast_exp(A(pack.v[k]) - shift);
      detail::put(pack.v[k], (i + k == label ? p - A(1) : p) * keep);
    }
    *reinterpret_cast<Pack<T, N>*>(l + i) = pack;
  }
}

}  // namespace

template <class T>
void rope_apply(T* x, int64_t token_stride, const int32_t* positions, const accumulator_t<T>* table,
                int64_t tokens, int64_t heads, int64_t head_dim, bool transposed, Stream stream) {
  using A = accumulator_t<T>;
  constexpr int kN = kPackOf<T>;
  const int64_t half = head_dim / 2;
  const A sign = transposed ? A(-1) : A(1);
  const bool packs = half % kN == 0 && token_stride % kN == 0 && aligned_for(x, kN);
  if (packs) {
    launch("rope", rope_kernel<kN, T>,
           over_items(tokens * heads * (half / kN), kThreads, kMostBlocks), stream, x, token_stride,
           positions, table, tokens, heads, half, sign);
  } else {
    launch("rope", rope_kernel<1, T>, over_items(tokens * heads * half, kThreads, kMostBlocks),
           stream, x, token_stride, positions, table, tokens, heads, half, sign);
  }
}

template <class T>
void embedding_forward(const int32_t* ids, const T* table, T* y, int64_t tokens, int64_t rows,
                       int64_t hidden, int64_t first_row, Stream stream) {
  constexpr int kN = kPackOf<T>;
  if (hidden % kN == 0 && aligned_for(table, kN) && aligned_for(y, kN)) {
    launch("embedding", embedding_kernel<kN, T>,
           over_items(tokens * (hidden / kN), kThreads, kMostBlocks), stream, ids, table, y, tokens,
           rows, hidden, first_row);
  } else {
    launch("embedding", embedding_kernel<1, T>, over_items(tokens * hidden, kThreads, kMostBlocks),
           stream, ids, table, y, tokens, rows, hidden, first_row);
  }
}

template <class T>
void embedding_backward(const T* dy, const int32_t* ids, accumulator_t<T>* dtable, int64_t tokens,
                        int64_t rows, int64_t hidden, int64_t first_row, Stream stream) {
  constexpr unsigned kBuckets = 64;
  if (tokens == 0 || rows == 0) return;
  LaunchShape shape = over_items(hidden, kThreads);
  shape.grid.y = kBuckets;
  launch("embedding_backward", embedding_backward_kernel<T>, shape, stream, dy, ids, dtable, tokens,
         rows, hidden, first_row);
}

template <class T>
void boundary_pool_forward(const T* k, int64_t stride, int64_t width, const PoolSegment* segments,
                           int64_t count, const PoolRule& rule, accumulator_t<T>* pooled,
                           Stream stream) {
  const LaunchShape shape{dim3(unsigned(count), unsigned(ceil_div(width, kPoolColumns))),
                          dim3(kPoolColumns * kPoolLanes)};
  launch("boundary_pool", pool_kernel<T>, shape, stream, k, stride, width, segments, rule, pooled);
}

template <class T>
void boundary_pool_backward(const accumulator_t<T>* d_pooled, int64_t stride, int64_t width,
                            const PoolSegment* segments, int64_t count, int64_t longest,
                            const PoolRule& rule, T* dk, Stream stream) {
  constexpr int64_t kMostShares = 1024;
  const LaunchShape shape{dim3(unsigned(count), unsigned(std::min(longest, kMostShares))),
                          dim3(kThreads)};
  launch("boundary_pool_backward", pool_backward_kernel<T>, shape, stream, d_pooled, stride, width,
         segments, rule, dk);
}

template <class T>
void cross_entropy_rows(const T* logits, const int32_t* labels, int64_t rows, int64_t shard,
                        int64_t first_id, double* parts, Stream stream) {
  const bool packs = shard % kPackOf<T> == 0 && aligned_for(logits, kPackOf<T>);
  launch("cross_entropy", packs ? cross_entropy_kernel<kPackOf<T>, T> : cross_entropy_kernel<1, T>,
         LaunchShape{dim3(unsigned(rows)), dim3(kThreads)}, stream, logits, labels, shard, first_id,
         parts);
}

template <class A>
void cross_entropy_combine(const double* parts, int64_t shards, int64_t rows, A* lse, double* loss,
                           int32_t* argmax, Stream stream) {
  launch("cross_entropy_combine", cross_entropy_combine_kernel<A>, over_items(rows, kThreads),
         stream, parts, shards, rows, lse, loss, argmax);
}
template void cross_entropy_combine<double>(const double*, int64_t, int64_t, double*, double*,
                                            int32_t*, Stream);
template void cross_entropy_combine<float>(const double*, int64_t, int64_t, float*, double*,
                                           int32_t*, Stream);

template <class T>
void cross_entropy_backward(T* logits, const int32_t* labels, const accumulator_t<T>* lse,
                            int64_t rows, int64_t shard, int64_t first_id, double scale,
                            Stream stream) {
  using A = accumulator_t<T>;
  constexpr int64_t kRows = kCrossEntropyRows;
  const bool packs = shard % kPackOf<T> == 0 && aligned_for(logits, kPackOf<T>);
  for (int64_t begin = 0; begin < rows; begin += kRows) {
    LaunchShape shape = over_items(packs ? shard / kPackOf<T> : shard, kThreads, 64);
    shape.grid.y = unsigned(rows - begin < kRows ? rows - begin : kRows);
    launch(
        "cross_entropy_backward",
        packs ? cross_entropy_backward_kernel<kPackOf<T>, T> : cross_entropy_backward_kernel<1, T>,
        shape, stream, logits + begin * shard, labels + begin, lse + begin, shard, first_id,
        A(scale));
  }
}

#define ELASTRON_FOR(T)                                                                           \
  template void rope_apply<T>(T*, int64_t, const int32_t*, const accumulator_t<T>*, int64_t,      \
                              int64_t, int64_t, bool, Stream);                                    \
  template void embedding_forward<T>(const int32_t*, const T*, T*, int64_t, int64_t, int64_t,     \
                                     int64_t, Stream);                                            \
  template void embedding_backward<T>(const T*, const int32_t*, accumulator_t<T>*, int64_t,       \
                                      int64_t, int64_t, int64_t, Stream);                         \
  template void boundary_pool_forward<T>(const T*, int64_t, int64_t, const PoolSegment*, int64_t, \
                                         const PoolRule&, accumulator_t<T>*, Stream);             \
  template void boundary_pool_backward<T>(const accumulator_t<T>*, int64_t, int64_t,              \
                                          const PoolSegment*, int64_t, int64_t, const PoolRule&,  \
                                          T*, Stream);                                            \
  template void cross_entropy_rows<T>(const T*, const int32_t*, int64_t, int64_t, int64_t,        \
                                      double*, Stream);                                           \
  template void cross_entropy_backward<T>(T*, const int32_t*, const accumulator_t<T>*, int64_t,   \
                                          int64_t, int64_t, double, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
