// The plain kernel, in float32 arithmetic, which defines what the one on tensor cores must give.
#include "ops/cuda/attention/kernel_choice.h"
#include "ops/cuda/attention/xattention_rows.h"

namespace elastron::ops::cuda {

namespace {

constexpr int kThreads = kPlainChoiceKernel.threads, kWarps = kThreads / kWarp;
constexpr int kTile = int(kPlainChoiceKernel.tile);              // groups, of queries and of keys
constexpr int kSide = 16, kSums = kTile / kSide, kColumns = 16;  // columns: of head_dim at a time
static_assert(kSide * kSide == kThreads);

struct Memory {
  float queries[kTile][kColumns + 1], keys[kTile][kColumns + 1];
  float scores[kTile][kTile + 1];
  MassBins bins[kWarps];
  int32_t ticket;
};

// scores = those of the query groups from `row` on with the key groups from `key` on.
template <class T>
__device__ void score_tile(const ChoiceProblem& p, const ChoiceRows& rows, const T* q, const T* k,
                           int32_t row, int32_t key, Memory& memory) {
  const int ty = int(threadIdx.x) / kSide, tx = int(threadIdx.x) % kSide;
  float sums[kSums][kSums] = {};
  for (int32_t j = 0; j < p.stride; ++j) {
    for (int32_t first = 0; first < p.head_dim; first += kColumns) {
      __syncthreads();  // what was there has been read
      for (int i = int(threadIdx.x); i < kTile * kColumns; i += kThreads) {
        const int group = i / kColumns, column = first + i % kColumns;
        const int64_t query = int64_t(row + group + 1) * p.stride - 1 - j;
        const int64_t other = int64_t(key + group) * p.stride + j;
        const bool inside = column < p.head_dim;
        float a = 0, b = 0;
        if (inside && query < rows.tile.length) {
          a = float(q[(rows.tile.first_token + query) * p.q_stride + rows.head * p.head_dim +
                      column]) *
              p.factor;
        }
        if (inside && other < rows.tile.length) {
          b = float(
              k[(rows.tile.first_key + other) * p.k_stride + rows.kv_head * p.head_dim + column]);
        }
        memory.queries[group][i % kColumns] = a;
        memory.keys[group][i % kColumns] = b;
      }
      __syncthreads();
#pragma unroll 4
      for (int column = 0; column < kColumns; ++column) {
        float a[kSums], b[kSums];
#pragma unroll
        for (int i = 0; i < kSums; ++i) {
          a[i] = memory.queries[ty * kSums + i][column];
          b[i] = memory.keys[tx + i * kSide][column];
        }
#pragma unroll
        for (int i = 0; i < kSums; ++i) {
#pragma unroll
          for (int n = 0; n < kSums; ++n) sums[i][n] += a[i] * b[n];
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
#pragma unroll
    for (int n = 0; n < kSums; ++n) memory.scores[ty * kSums + i][tx + n * kSide] = sums[i][n];
  }
  __syncthreads();
}

// The tile's scores join the sums of their key blocks, which may have begun before the tile.
__device__ void gather(const ChoiceProblem& p, const ChoiceRows& rows, int32_t row, int32_t key,
                       const Memory& memory, const ChoiceScratch& scratch) {
  const int32_t first_block = key / p.each;
  const int32_t blocks = (key + kTile - 1) / p.each - first_block + 1;
  for (int32_t i = int32_t(threadIdx.x); i < kTile * blocks; i += kThreads) {
    const int32_t group = row + i % kTile, block = first_block + i / kTile;
    if (group >= rows.past) continue;
    const int32_t from = block * p.each > key ? block * p.each : key;
    int32_t to = (block + 1) * p.each < key + kTile ? (block + 1) * p.each : key + kTile;
    to = to < group + 1 ? to : group + 1;
    if (from >= to) continue;
    BlockSum& place = scratch.sums[int64_t(group - rows.first) * p.pitch + block];
    BlockSum sum{-std::numeric_limits<float>::infinity(), 0};
    if (block * p.each < from) sum = place;
    const float* scores = memory.scores[i % kTile] - key;
    float most = sum.most;
    for (int32_t b = from; b < to; ++b) most = fmaxf(most, scores[b]);
    float total = sum.total * exp2f(sum.most - most);
    for (int32_t b = from; b < to; ++b) total += exp2f(scores[b] - most);
    place = {most, total};
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    choose_kernel(ChoiceProblem p, const T* q, const T* k) {
  __shared__ Memory memory;
  const ChoiceScratch scratch(p);
  ChoiceRows rows;
  while (take_rows(p, &memory.ticket, rows)) {
    for (int32_t row = rows.first; row < rows.past; row += kTile) {
      for (int32_t key = 0; key < rows.past && key < row + kTile; key += kTile) {
        score_tile(p, rows, q, k, row, key, memory);
        gather(p, rows, row, key, memory, scratch);
      }
    }
    __syncthreads();
    choose_rows<kWarps>(p, rows, scratch, memory.bins[threadIdx.x / kWarp]);
  }
}

}  // namespace

template <class T>
void choose_blocks(const BlockChoiceArgs& all, const XAttentionRule& rule, Device& device,
                   Stream stream) {
  const XAttentionArgs args(all, rule);
  if (mma_scores(dtype_of<T>, args.shape.head_dim, args.groups_of_block(),
                 aligned_rows({args.q, args.k}), device.attached<ForbiddenKernels>().families)) {
    return mma_choose_blocks(args, device, stream);
  }
  launch_choice<T>("choose_blocks", choose_kernel<T>, kPlainChoiceKernel, 0, args, device, stream);
}

template void choose_blocks<float>(const BlockChoiceArgs&, const XAttentionRule&, Device&, Stream);
template void choose_blocks<bf16>(const BlockChoiceArgs&, const XAttentionRule&, Device&, Stream);

}  // namespace elastron::ops::cuda
