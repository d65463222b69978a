// Means of all blocks first, those of keys as [channel, block] so that the scores of a row are sums
// over channels side by side; then each row's choice.
#include "ops/cpu/topk.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/detail/topk_math.h"

namespace elastron::ops::cpu {
namespace {

// The means of one sequence and kv head.
template <class T>
struct Means {
  T* queries;  // [query blocks, head_dim]
  T* keys;     // [head_dim, key blocks]
};

struct SequenceBlocks {
  int64_t offset = 0;             // query blocks begin at this block of keys
  int64_t queries = 0, keys = 0;  // blocks
  int64_t first = 0;              // of the means of all sequences, in vectors of head_dim
};

std::vector<SequenceBlocks> blocks_of_sequences(const BlockChoiceArgs& args) {
  std::vector<SequenceBlocks> all;
  int64_t first = 0;
  for (int64_t s = 0; s < args.varlen.sequences(); ++s) {
    SequenceBlocks& b = all.emplace_back();
    b.first = first;
    b.offset = args.varlen.offset(s) / args.block;
    b.queries = BlockChoiceView::blocks_of(args.varlen.length(s), args.block);
    b.keys = b.queries == 0 ? 0 : BlockChoiceView::blocks_of(args.varlen.key_length(s), args.block);
    first += b.queries + b.keys;
  }
  return all;
}

int64_t all_blocks(const std::vector<SequenceBlocks>& blocks) {
  return blocks.empty() ? 0 : blocks.back().first + blocks.back().queries + blocks.back().keys;
}

template <class Storage>
class TopkChooser {
  using T = accumulator_t<Storage>;

 public:
  TopkChooser(const BlockChoiceArgs& args, const TopkRule& rule, std::byte* memory)
      : args_(args),
        rule_(rule),
        dim_(args.shape.head_dim),
        blocks_(blocks_of_sequences(args)),
        means_(reinterpret_cast<T*>(memory)) {}

  const std::vector<SequenceBlocks>& blocks() const { return blocks_; }

  // Mean of a block of queries (index < blocks().queries) or of keys (behind them).
  void average(int64_t s, int64_t kv_head, int64_t index) const {
    const SequenceBlocks& b = blocks_[size_t(s)];
    const Means<T> to = means_of(s, kv_head);
    const bool of_queries = index < b.queries;
    const int64_t block = of_queries ? index : index - b.queries;
    const int64_t heads = of_queries ? args_.shape.group() : 1;
    const int64_t tokens = of_queries ? args_.varlen.length(s) : args_.varlen.key_length(s);
    const int64_t row = of_queries ? args_.varlen.begin(s) : args_.varlen.key_begin(s);
    const HeadsView& x = of_queries ? args_.q : args_.k;
    const int64_t begin = block * args_.block, end = std::min(tokens, begin + args_.block);
    std::vector<T> sum(size_t(dim_), T(0));
    for (int64_t t = begin; t < end; ++t) {
      const Storage* from =
          static_cast<const Storage*>(x.data) + (row + t) * x.token_stride + kv_head * heads * dim_;
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t d = 0; d < dim_; ++d) sum[size_t(d)] += T(from[h * dim_ + d]);
      }
    }
    const T count = T((end - begin) * heads);
    for (int64_t d = 0; d < dim_; ++d) {
      T& mean = of_queries ? to.queries[block * dim_ + d] : to.keys[d * b.keys + block];
      mean = sum[size_t(d)] / count;
    }
  }

  // The blocks that query block `row` of a sequence reads. `scores` and `order` are scratch.
  void choose(int64_t s, int64_t kv_head, int64_t row, std::vector<T>& scores,
              std::vector<int64_t>& order) const {
    const SequenceBlocks& b = blocks_[size_t(s)];
    const int64_t own = b.offset + row, sink = std::min(rule_.sink_blocks, own);
    for (int64_t j = 0; j < sink; ++j) set(s, kv_head, row, j);
    set(s, kv_head, row, own);
    const int64_t between = own - sink, wanted = std::min(between, rule_.blocks - 1 - sink);
    if (wanted < between) {
      rank(s, kv_head, row, sink, between, wanted, scores, order);
      for (int64_t i = 0; i < wanted; ++i) set(s, kv_head, row, sink + order[size_t(i)]);
    } else {
      for (int64_t j = sink; j < own; ++j) set(s, kv_head, row, j);
    }
  }

 private:
  Means<T> means_of(int64_t s, int64_t kv_head) const {
    const SequenceBlocks& b = blocks_[size_t(s)];
    T* first = means_ + (kv_head * all_blocks(blocks_) + b.first) * dim_;
    return {first, first + b.queries * dim_};
  }

  // The first `wanted` of `order` are the best of the key blocks [sink, sink + between), less sink.
  void rank(int64_t s, int64_t kv_head, int64_t row, int64_t sink, int64_t between, int64_t wanted,
            std::vector<T>& scores, std::vector<int64_t>& order) const {
    const SequenceBlocks& b = blocks_[size_t(s)];
    const Means<T> means = means_of(s, kv_head);
    scores.assign(size_t(between), T(0));
    for (int64_t d = 0; d < dim_; ++d) {
      const T u = means.queries[row * dim_ + d];
      const T* w = means.keys + d * b.keys + sink;
      for (int64_t j = 0; j < between; ++j)
        scores[size_t(j)] = std::fma(u, w[j], scores[size_t(j)]);
    }
    order.resize(size_t(between));
    for (int64_t j = 0; j < between; ++j) order[size_t(j)] = j;
    std::nth_element(order.begin(), order.begin() + wanted, order.end(), [&](int64_t i, int64_t j) {
      const auto a = detail::order_key(scores[size_t(i)]), c = detail::order_key(scores[size_t(j)]);
      return a != c ? a > c : i < j;
    });
  }

  // A row of bits is one thread's own; a column is shared with those who have other rows.
  void set(int64_t s, int64_t kv_head, int64_t row, int64_t key_block) const {
    const int64_t at = kv_head * args_.starts.back() + args_.starts[size_t(s)];
    const int64_t row_words = BlockChoiceView::words_of(args_.varlen.key_length(s), args_.block);
    const int64_t column_words = BlockChoiceView::words_of(args_.varlen.length(s), args_.block);
    args_.rows[at + row * row_words + key_block / kChoiceBits] |= 1u << (key_block % kChoiceBits);
    uint32_t& column = args_.columns[at + key_block * column_words + row / kChoiceBits];
    const uint32_t bit = 1u << (row % kChoiceBits);
#pragma omp atomic
    column |= bit;
  }

  const BlockChoiceArgs& args_;
  const TopkRule rule_;
  const int64_t dim_;
  const std::vector<SequenceBlocks> blocks_;
  T* means_;
};

}  // namespace

size_t topk_workspace(const BlockChoiceArgs& args, size_t accumulator_bytes) {
  return size_t(all_blocks(blocks_of_sequences(args)) * args.shape.kv_heads * args.shape.head_dim) *
         accumulator_bytes;
}

template <class Storage>
void choose_blocks(const BlockChoiceArgs& args, const TopkRule& rule, int threads,
                   std::byte* workspace) {
  using T = accumulator_t<Storage>;
  const TopkChooser<Storage> chooser(args, rule, workspace);
  struct Work {
    int64_t sequence, kv_head, index;
  };
  std::vector<Work> means, rows;
  for (int64_t s = 0; s < args.varlen.sequences(); ++s) {
    const SequenceBlocks& b = chooser.blocks()[size_t(s)];
    for (int64_t h = 0; h < args.shape.kv_heads; ++h) {
      if (!is_wanted(args.whose, args.gate[s * args.shape.kv_heads + h] != 0)) continue;
      for (int64_t i = 0; i < b.queries + b.keys; ++i) means.push_back({s, h, i});
      for (int64_t i = 0; i < b.queries; ++i) rows.push_back({s, h, i});
    }
  }
#pragma omp parallel num_threads(std::max(threads, 1))
  {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < int64_t(means.size()); ++i) {
      const Work& w = means[size_t(i)];
      chooser.average(w.sequence, w.kv_head, w.index);
    }
    std::vector<T> scores;
    std::vector<int64_t> order;
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < int64_t(rows.size()); ++i) {
      const Work& w = rows[size_t(i)];
      chooser.choose(w.sequence, w.kv_head, w.index, scores, order);
    }
  }
}

template void choose_blocks<double>(const BlockChoiceArgs&, const TopkRule&, int, std::byte*);
template void choose_blocks<float>(const BlockChoiceArgs&, const TopkRule&, int, std::byte*);
template void choose_blocks<bf16>(const BlockChoiceArgs&, const TopkRule&, int, std::byte*);

}  // namespace elastron::ops::cpu
