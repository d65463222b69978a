// Two launches: the means of all blocks of queries and keys, then the rows' choices. Keys' means
// are kept as [channel, block], so that lanes read those of neighbouring blocks.
#include <limits>

#include "core/cuda/launch.h"
#include "ops/backend.h"
#include "ops/cuda/attention/choice_bits.h"
#include "ops/cuda/attention/topk.h"
#include "ops/cuda/attention/topk_work.h"
#include "ops/cuda/primitives.h"
#include "ops/detail/topk_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 128;
using Key = detail::order_key_t<float>;

struct TopkProblem {
  const TopkSequence* sequences;
  int32_t count;         // of sequences
  int32_t blocks, rows;  // of both kinds, and of queries, of all sequences
  const uint8_t* gate;
  ChoiceFor whose;
  int32_t kv_heads, group, head_dim, block;
  int64_t sink, wanted;  // blocks
  int64_t q_stride, k_stride;
  float* means;  // [kv_heads, blocks, head_dim]; of the keys of a sequence [head_dim, key blocks]
  uint32_t *row_bits, *column_bits;
  int64_t mask_words;
  Key* scores;  // [blocks of threads, pitch]
  int64_t pitch;

  __device__ bool is_wanted_of(int32_t sequence, int32_t kv_head) const {
    return is_wanted(whose, gate[int64_t(sequence) * kv_heads + kv_head] != 0);
  }
  __device__ float* means_of(const TopkSequence& s, int32_t kv_head) const {
    return means + (int64_t(kv_head) * blocks + s.blocks_before) * head_dim;
  }
};

// The sequence that an item of all is in: `before` of a sequence is the number of items before it.
template <class Before>
__device__ int32_t sequence_with(const TopkProblem& p, int32_t item, Before&& before) {
  int32_t low = 0, high = p.count;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    if (before(p.sequences[middle]) <= item) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// A block of threads per block of queries or keys and kv head; a thread per channel.
template <class T>
__global__ void __launch_bounds__(kThreads)
    block_means_kernel(TopkProblem p, const T* q, const T* k) {
  const auto item = int32_t(blockIdx.x), kv_head = int32_t(blockIdx.y);
  const int32_t sequence =
      sequence_with(p, item, [](const TopkSequence& s) { return s.blocks_before; });
  if (!p.is_wanted_of(sequence, kv_head)) return;
  const TopkSequence s = p.sequences[sequence];
  const int32_t index = item - s.blocks_before;
  const bool of_queries = index < s.query_blocks;
  const int32_t block = of_queries ? index : index - s.query_blocks;
  const int32_t heads = of_queries ? p.group : 1, begin = block * p.block;
  const int32_t all = of_queries ? s.tokens : s.keys;
  const int32_t end = begin + p.block < all ? begin + p.block : all;
  const int64_t stride = of_queries ? p.q_stride : p.k_stride;
  const T* from = (of_queries ? q : k) +
                  int64_t(of_queries ? s.first_query : s.first_key) * stride +
                  int64_t(kv_head) * heads * p.head_dim;
  float* means = p.means_of(s, kv_head);
  const auto count = float(int64_t(end - begin) * heads);
  for (int32_t d = int32_t(threadIdx.x); d < p.head_dim; d += kThreads) {
    float sum = 0;
    for (int32_t t = begin; t < end; ++t) {
#pragma unroll 4
      for (int32_t h = 0; h < heads; ++h) sum += float(from[t * stride + h * p.head_dim + d]);
    }
    float* to =
        of_queries
            ? means + int64_t(block) * p.head_dim + d
            : means + (int64_t(s.query_blocks) * p.head_dim + int64_t(d) * s.key_blocks + block);
    *to = sum / count;
  }
}

// The scores above `value` are chosen, and the first `equals` of those that are it.
struct ScoreCut {
  Key value;
  int32_t equals;
};

// The cut that takes the `wanted` largest of the scores, bit by bit from the top.
__device__ ScoreCut find_score_cut(const Key* scores, int32_t count, int32_t wanted,
                                   int32_t* scratch) {
  constexpr int kBits = 8 * int(sizeof(Key));
  Key value = 0;
  for (int bit = kBits - 1; bit >= 0; --bit) {
    const Key with = value | Key(1) << bit;
    int32_t found = 0;
    for (int32_t j = int32_t(threadIdx.x); j < count; j += kThreads) {
      if (scores[j] >> bit == with >> bit) ++found;
    }
    found = block_sum<kThreads>(found, scratch);
    __syncthreads();  // scratch is free again
    if (found >= wanted) {
      value = with;
    } else {
      wanted -= found;
    }
  }
  return {value, wanted};
}

// A block of threads takes rows of any sequence and kv head.
__global__ void __launch_bounds__(kThreads) choose_topk_kernel(TopkProblem p) {
  __shared__ int32_t scratch[kThreads / kWarp];
  Key* scores = p.scores + int64_t(blockIdx.x) * p.pitch;
  for (int64_t item = blockIdx.x; item < int64_t(p.rows) * p.kv_heads; item += gridDim.x) {
    const auto kv_head = int32_t(item % p.kv_heads), row_of_all = int32_t(item / p.kv_heads);
    const int32_t sequence =
        sequence_with(p, row_of_all, [](const TopkSequence& s) { return s.rows_before; });
    if (!p.is_wanted_of(sequence, kv_head)) continue;
    const TopkSequence s = p.sequences[sequence];
    const int32_t row = row_of_all - s.rows_before, own = s.offset / p.block + row;
    const auto sink = int32_t(p.sink < own ? p.sink : own);
    const int32_t between = own - sink;
    const int64_t free = p.wanted - 1 - sink;
    const auto wanted = int32_t(free < between ? free : between);
    ScoreCut cut{0, between};  // all of them
    if (wanted == 0) {
      cut = {~Key(0), 0};
    } else if (wanted < between) {
      const float* u = p.means_of(s, kv_head) + int64_t(row) * p.head_dim;
      const float* w = p.means_of(s, kv_head) + int64_t(s.query_blocks) * p.head_dim + sink;
      for (int32_t j = int32_t(threadIdx.x); j < between; j += kThreads) {
        float score = 0;
#pragma unroll 4
        for (int32_t d = 0; d < p.head_dim; ++d) {
          score = fmaf(u[d], w[int64_t(d) * s.key_blocks + j], score);
        }
        scores[j] = detail::order_key(score);
      }
      __syncthreads();
      cut = find_score_cut(scores, between, wanted, scratch);
    }
    if (threadIdx.x < kWarp) {
      EqualRank rank;
      write_row_bits(MaskPlace(p.row_bits, p.column_bits, kv_head, p.mask_words, s.words, s.keys,
                               s.offset, p.block),
                     row, own, [&](int32_t j) {
                       const bool candidate = j >= sink && j < own && wanted > 0;
                       // Where all are taken their scores are not there.
                       const Key score = candidate && wanted < between ? scores[j - sink] : Key(0);
                       const bool equal = candidate && score == cut.value;
                       const bool first = rank.of(equal) < cut.equals;
                       return j <= own && (j < sink || j == own ||
                                           (candidate && (score > cut.value || (equal && first))));
                     });
    }
    __syncthreads();  // the scores have been read
  }
}

}  // namespace

template <class T>
void choose_blocks(const BlockChoiceArgs& args, const TopkRule& rule, Device& device,
                   Stream stream) {
  const auto [sequences, blocks, rows, pitch, choosers] = topk_work(args);
  if (rows == 0) return;
  ELASTRON_CHECK(blocks <= std::numeric_limits<int32_t>::max() && args.shape.kv_heads <= 65535,
                 "choose_blocks: too many blocks or heads");
  const Tensor list = on_device(std::span<const TopkSequence>(sequences), device);
  const Tensor means =
      Tensor::empty({args.shape.kv_heads, blocks, args.shape.head_dim}, DType::f32, device);
  const Tensor scores = Tensor::empty({choosers, pitch}, DType::i32, device);
  const TopkProblem problem{.sequences = static_cast<const TopkSequence*>(list.raw()),
                            .count = int32_t(sequences.size()),
                            .blocks = int32_t(blocks),
                            .rows = int32_t(rows),
                            .gate = args.gate,
                            .whose = args.whose,
                            .kv_heads = int32_t(args.shape.kv_heads),
                            .group = int32_t(args.shape.group()),
                            .head_dim = int32_t(args.shape.head_dim),
                            .block = int32_t(args.block),
                            .sink = rule.sink_blocks,
                            .wanted = rule.blocks,
                            .q_stride = args.q.token_stride,
                            .k_stride = args.k.token_stride,
                            .means = means.template data<float>(),
                            .row_bits = args.rows,
                            .column_bits = args.columns,
                            .mask_words = args.starts.back(),
                            .scores = static_cast<Key*>(scores.raw()),
                            .pitch = pitch};
  launch("topk_block_means", block_means_kernel<T>,
         LaunchShape{dim3(unsigned(blocks), unsigned(args.shape.kv_heads)), dim3(kThreads)}, stream,
         problem, static_cast<const T*>(args.q.data), static_cast<const T*>(args.k.data));
  launch("choose_topk", choose_topk_kernel, LaunchShape{dim3(unsigned(choosers)), dim3(kThreads)},
         stream, problem);
}

template void choose_blocks<float>(const BlockChoiceArgs&, const TopkRule&, Device&, Stream);
template void choose_blocks<bf16>(const BlockChoiceArgs&, const TopkRule&, Device&, Stream);

}  // namespace elastron::ops::cuda
