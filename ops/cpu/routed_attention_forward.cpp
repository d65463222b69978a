// Both branches in one pass over the keys, tile by tile with a running softmax (docs/method.md, One
// pass).
//
// Lanes are queries: scores are kept as [key, query], so that maxima and sums over keys need no
// shuffles, keys and values are read where they lie, and only the queries are transposed, once per
// tile. Scores are in units of log2: the queries are multiplied by scale * log2(e).
#include <omp.h>

#include <cmath>
#include <numbers>
#include <type_traits>

#include "ops/attention/schedule.h"
#include "ops/cpu/attention_amx_products.h"
#include "ops/cpu/attention_lane_products.h"
#include "ops/cpu/routed_attention.h"

namespace elastron::ops::cpu {
namespace {

// Query tiles of one head, or of heads that share keys, which go through the keys together.
template <class Storage, class Products>
class ForwardTile {
  using T = accumulator_t<Storage>;
  static constexpr int n = kLanes<T>;

 public:
  ForwardTile(const AttentionForwardArgs& args, std::byte* memory)
      : args_(args),
        shape_(args.shape),
        memory_(reinterpret_cast<T*>(memory)),
        products_(memory_ + Products::kTilesAtOnce * QueryMemory<T>::elements(shape_.head_dim),
                  args) {}
  // Of T, of a thread.
  static int64_t elements(int64_t head_dim) {
    return Products::kTilesAtOnce * QueryMemory<T>::elements(head_dim) +
           Products::elements(head_dim);
  }

  void run(const AttentionTile& work) {
    // Blocks are multiples of a tile's keys.
    if (args_.sets.has(KeySetKind::blocks)) return run_over<kTileKeys>(work);
    run_over<Products::kKeysAtOnce>(work);
  }

 private:
  template <int kKeys>
  void run_over(const AttentionTile& work) {
    const int64_t tokens = tile_tokens(heads_);
    const int64_t offset = args_.varlen.offset(work.sequence);
    first_token_ = args_.varlen.begin(work.sequence) - offset;
    first_key_ = args_.varlen.key_begin(work.sequence);
    const int64_t begin = offset + work.tile * tokens;
    const int64_t end =
        std::min(args_.varlen.key_length(work.sequence), begin + tokens * work.tiles);
    head_ = work.head;
    kv_head_ = work.head / shape_.group();
    start(args_.rule_of(work.sequence), begin, end, tokens);
    const bool open = args_.open(work.sequence, kv_head_), both = args_.other != nullptr;
    const Output retrieval = open ? Output{args_.selected, args_.lse} : other();
    const Output sparse = open ? other() : Output{args_.selected, args_.lse};
    const KeyPattern pattern = args_.key_pattern(work.sequence, head_, begin);
    KeyTiles<kKeys> walk(pattern, begin, end, both || open, both || !open);
    KeyTile at = walk.next();
    const auto visit = [&](Part part) {
      for (; at.part == part; at = walk.next()) tile(at);
    };
    visit(Part::common);
    // Where the pair is not nested both branches have keys of their own.
    const bool apart = !args_.sets.nested() && both;
    if (apart) {
      for (int i = 0; i < tiles_; ++i) rows_[i].keep();
    }
    if (!apart && sparse.rows != nullptr) emit(sparse);
    if (retrieval.rows != nullptr) {
      visit(Part::retrieval);
      emit(retrieval);
    }
    if (apart) {
      for (int i = 0; i < tiles_; ++i) rows_[i].take_back();
      visit(Part::sparse);
      emit(sparse);
    }
    if (args_.visited != nullptr) count_visited(work.sequence, pattern, begin, end, tokens, open);
  }

  struct Output {
    void *rows, *lse;
  };
  Output other() const { return {args_.other, args_.lse_other}; }

  void start(const StreamingRule& rule, int64_t begin, int64_t end, int64_t tokens) {
    const auto* q = static_cast<const Storage*>(args_.q.data);
    for (tiles_ = 0; begin < end; ++tiles_, begin += tokens) {
      QueryRows<T>& rows = rows_[tiles_];
      rows.start(rule, begin, std::min(end, begin + tokens), heads_,
                 {memory_ + tiles_ * QueryMemory<T>::elements(shape_.head_dim), shape_.head_dim},
                 shape_.head_dim);
      products_.pack_queries(
          [&](int64_t r) {
            return q + (first_token_ + rows.token_of(r)) * args_.q.token_stride +
                   (head_ + rows.head_of(r)) * shape_.head_dim;
          },
          rows);
    }
  }

  void tile(const KeyTile& at) {
    const auto first = [&](const HeadsView& view) {
      return static_cast<const Storage*>(view.data) + (first_key_ + at.begin) * view.token_stride +
             kv_head_ * shape_.head_dim;
    };
    products_.read(first(args_.k), args_.k.token_stride, first(args_.v), args_.v.token_stride,
                   at.end - at.begin);
    switch (at.mask) {
      case KeyMask::none: return masked_tile<KeyMask::none>(at);
      case KeyMask::causal: return masked_tile<KeyMask::causal>(at);
      case KeyMask::shown: return masked_tile<KeyMask::shown>(at);
      case KeyMask::hidden: return masked_tile<KeyMask::hidden>(at);
    }
  }
  template <KeyMask kMask>
  void masked_tile(const KeyTile& at) {
    for (int i = 0; i < tiles_; ++i) {
      if (rows_[i].template sees_none<kMask>(at.begin, at.end - at.begin)) continue;
      products_.template add_to<kMask>(rows_[i], at.begin);
    }
  }

  // Of each query tile by itself.
  void count_visited(int64_t sequence, const KeyPattern& pattern, int64_t begin, int64_t end,
                     int64_t tokens, bool open) {
    int64_t tiles = 0;
    for (; begin < end; begin += tokens) {
      tiles += count_branch_tiles<kTileKeys>(pattern, begin, std::min(end, begin + tokens), open);
    }
    int64_t& sum = args_.visited[sequence * shape_.kv_heads + kv_head_];
#pragma omp atomic
    sum += tiles;
  }

  void emit(const Output& out) {
    for (int i = 0; i < tiles_; ++i) emit(rows_[i], out);
  }
  void emit(const QueryRows<T>& rows, const Output& out) {
    auto* rows_out = static_cast<Storage*>(out.rows);
    auto* lse = static_cast<T*>(out.lse);
    for (int64_t r = 0; r < rows.registers * n; ++r) inverse_[r] = T(1) / rows.sum[r];
    const auto place = [&](int64_t r) {
      return (first_token_ + rows.token_of(r)) * shape_.q_heads + head_ + rows.head_of(r);
    };
    unpack_transposed<T, Storage>(rows.sums, kQueryRows, inverse_, rows.rows, shape_.head_dim,
                                  [&](int64_t r) { return rows_out + place(r) * shape_.head_dim; });
    if (lse == nullptr) return;
    for (int64_t r = 0; r < rows.rows; ++r) {
      lse[place(r)] = (rows.maximum[r] + std::log2(rows.sum[r])) * std::numbers::ln2_v<T>;
    }
  }

  const AttentionForwardArgs& args_;
  const AttentionShape shape_;
  const int64_t heads_ = args_.tile_heads();
  T* memory_;
  Products products_;
  QueryRows<T> rows_[Products::kTilesAtOnce];
  int tiles_ = 0;
  // Rows of position 0 of the sequence: first_token_ + position is a query's, first_key_ + position
  // a key's.
  int64_t first_token_ = 0, first_key_ = 0;
  int64_t head_ = 0, kv_head_ = 0;
  alignas(64) T inverse_[kQueryRows];
};

template <class Storage, class Products>
void forward_by(const AttentionForwardArgs& args, int threads, std::byte* workspace) {
  using Tile = ForwardTile<Storage, Products>;
  const size_t slice = size_t(Tile::elements(args.shape.head_dim)) * sizeof(accumulator_t<Storage>);
  const auto work = forward_schedule(args, args.other != nullptr, Products::kTilesAtOnce);
  const auto count = int64_t(work.size());
#pragma omp parallel num_threads(int(std::clamp <int64_t>(count, 1, threads)))
  {
    Tile tile(args, workspace + size_t(omp_get_thread_num()) * slice);
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < count; ++i) tile.run(work[size_t(i)]);
  }
}

}  // namespace

size_t attention_forward_workspace(int64_t head_dim, DType storage) {
#if defined(ELASTRON_AMX)
  if (storage == DType::bf16 && amx_fits(head_dim)) {
    return size_t(ForwardTile<bf16, AmxProducts>::elements(head_dim)) * sizeof(float);
  }
#endif
  return size_t(ForwardTile<float, LaneProducts<float>>::elements(head_dim)) *
         dtype_size(accumulator_dtype(storage));
}

template <class Storage>
void routed_attention_forward(const AttentionForwardArgs& args, int threads, std::byte* workspace) {
#if defined(ELASTRON_AMX)
  if constexpr (std::is_same_v<Storage, bf16>) {
    if (amx_fits(args.shape.head_dim)) {
      return forward_by<bf16, AmxProducts>(args, threads, workspace);
    }
  }
#endif
  forward_by<Storage, LaneProducts<Storage>>(args, threads, workspace);
}

template void routed_attention_forward<double>(const AttentionForwardArgs&, int, std::byte*);
template void routed_attention_forward<float>(const AttentionForwardArgs&, int, std::byte*);
template void routed_attention_forward<bf16>(const AttentionForwardArgs&, int, std::byte*);

}  // namespace elastron::ops::cpu
