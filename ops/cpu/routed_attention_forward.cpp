// Both branches in one pass over the keys, tile by tile with a running softmax (docs/method.md, One
// pass).
//
// Lanes are queries: scores are kept as [key, query], so that maxima and sums over keys need no
// shuffles, keys and values are read where they lie, and only the queries are transposed, once per
// tile. Scores are in units of log2: the queries are multiplied by scale * log2(e).
#include <omp.h>

#include <numbers>
#include <type_traits>

#include "ops/attention/schedule.h"
#include "ops/cpu/routed_attention.h"
#include "ops/cpu/routed_attention_amx.h"
#include "ops/cpu/routed_attention_gemm.h"

namespace elastron::ops::cpu {
namespace {

constexpr int64_t kRows = kTileRows;

// Where a tile of queries keeps its operands and sums, in a thread's workspace.
template <class T>
struct QueryMemory {
  T *queries, *sums, *stash;
  QueryMemory(T* memory, int64_t head_dim)
      : queries(memory),                   // [head_dim, rows]
        sums(queries + head_dim * kRows),  // [head_dim, rows], not yet divided
        stash(sums + head_dim * kRows) {}  // [head_dim, rows]: sums of the common keys
  static int64_t elements(int64_t head_dim) { return 3 * head_dim * kRows; }
};

// The rows of a tile of queries, up to kRows, and their running softmax.
template <class T>
class QueryRows {
  static constexpr int n = kLanes<T>;
  using Integer = typename Simd<T>::Integer;

 public:
  static constexpr int kRegisters = int(kRows) / n;

  // Tokens [begin, end) times `heads` heads, a register after the other.
  void start(const StreamingRule& rule, int64_t begin, int64_t end, int64_t heads,
             const QueryMemory<T>& memory, int64_t head_dim) {
    rule_ = rule, begin_ = begin, end_ = end, heads_ = heads;
    sums = memory.sums, stash_ = memory.stash, queries = memory.queries;
    numbers_ = head_dim * kRows;
    rows = (end - begin) * heads;
    registers = int((rows + n - 1) / n);
    for (int64_t r = 0; r < registers * n; ++r) {
      // Lanes behind the last row compute something finite that nobody reads.
      const int64_t token = token_of(std::min(r, rows - 1));
      position_[r] = Integer(token);
      window_[r] = Integer(rule.local_begin(token));
      // Any number below every score that is not minus infinity, so that a tile without a visible
      // key gives 2^-inf = 0 and not a NaN.
      maximum[r] = std::numeric_limits<T>::lowest() / 4;
      sum[r] = 0;
    }
    std::fill_n(sums, numbers_, T(0));
  }

  int64_t token_of(int64_t row) const { return begin_ + row / heads_; }
  int64_t head_of(int64_t row) const { return row % heads_; }

  // The state after the keys of both branches, for the second of them.
  void keep() {
    std::copy_n(sums, numbers_, stash_);
    std::copy_n(maximum, kRows, kept_maximum_);
    std::copy_n(sum, kRows, kept_sum_);
  }
  void take_back() {
    std::copy_n(stash_, numbers_, sums);
    std::copy_n(kept_maximum_, kRows, maximum);
    std::copy_n(kept_sum_, kRows, sum);
  }

  // Whether no row sees any of the keys, so that nothing would come of them.
  template <KeyMask kMask>
  bool sees_none(int64_t key, int64_t count) const {
    if constexpr (kMask == KeyMask::none) return false;
    if (key >= end_) return true;
    // Windows move with the queries, but for those at the end that see all.
    return kMask == KeyMask::shown && key >= rule_.sink_tokens() &&
           key + count <= std::min(window_[0], window_[rows - 1]);
  }

  int64_t keys_before_end(int64_t key, int64_t count) const { return std::min(count, end_ - key); }

  // Lanes of register `c` that see the key.
  template <KeyMask kMask>
  ivec<T> visible(int64_t key, int c) const {
    ivec<T> position, window;
    std::memcpy(&position, position_ + c * n, sizeof position);
    std::memcpy(&window, window_ + c * n, sizeof window);
    const auto k = Integer(key);
    const ivec<T> causal = position >= k;
    if constexpr (kMask == KeyMask::causal) return causal;
    const bool sink = key < rule_.sink_tokens();
    if constexpr (kMask == KeyMask::shown) return sink ? causal : causal & (window <= k);
    return sink ? ivec<T>{} : causal & (window > k);
  }

  // What a register's lanes come to with `top` the largest scores now and `total` the sum of the
  // new probabilities. -> what sums shrink by.
  vec<T> go_on(int c, vec<T> top, vec<T> total) {
    const vec<T> shrink = exp2_lanes<T>(load<T>(maximum + c * n) - top);
    store<T>(maximum + c * n, top);
    store<T>(sum + c * n, multiply_add<T>(load<T>(sum + c * n), shrink, total));
    return shrink;
  }

  T *queries, *sums;
  int64_t rows = 0;
  int registers = 0;
  alignas(64) T maximum[kRows], sum[kRows];

 private:
  StreamingRule rule_;
  int64_t begin_ = 0, end_ = 0, heads_ = 1, numbers_ = 0;
  T* stash_ = nullptr;
  T kept_maximum_[kRows], kept_sum_[kRows];
  alignas(64) Integer position_[kRows], window_[kRows];
};

// A tile of keys and values against rows of queries, in the lanes of registers.
template <class Storage>
class LaneProducts {
  using T = accumulator_t<Storage>;
  static constexpr int n = kLanes<T>;
  static constexpr bool kWiden = !std::is_same_v<Storage, T>;
  using Rows = QueryRows<T>;

 public:
  static constexpr int kTilesAtOnce = 1, kKeysAtOnce = kTileKeys;

  LaneProducts(T* memory, const AttentionForwardArgs& args)
      : scores_(memory),                     // [keys, rows]
        keys_(scores_ + kTileKeys * kRows),  // [keys, head_dim]: widened bf16
        values_(keys_ + kTileKeys * args.shape.head_dim),
        factor_(T(args.scale * std::numbers::log2e)),
        dim_(args.shape.head_dim) {}
  static int64_t elements(int64_t head_dim) { return kTileKeys * kRows + 2 * kTileKeys * head_dim; }

  template <class Row>
  void pack_queries(const Row& row, Rows& to) const {
    pack_transposed<T, Storage>(row, to.rows, dim_, factor_, to.queries, kRows);
  }

  void read(const Storage* keys, int64_t key_stride, const Storage* values, int64_t value_stride,
            int64_t count) {
    count_ = count;
    key_rows_ = rows_of(keys, key_stride, keys_);
    value_rows_ = rows_of(values, value_stride, values_);
  }

  // `key`: the position of the first.
  template <KeyMask kMask>
  void add_to(Rows& rows, int64_t key) {
    vec<T> highest[Rows::kRegisters];
    for (int c = 0; c < rows.registers; ++c) highest[c] = load<T>(rows.maximum + c * n);

    // Scores [key, query] and their maxima.
    multiply<T>(
        {key_rows_.first, key_rows_.second, 1}, rows.queries, kRows, count_, rows.registers, dim_,
        [](int64_t, int) { return vec<T>{}; },
        [&, key]<int kColumns>(int64_t r, int column, vec<T>(&scores)[kColumns]) {
#pragma GCC unroll 8
          for (int c = 0; c < kColumns; ++c) {
            if constexpr (kMask != KeyMask::none) {
              scores[c] = rows.template visible<kMask>(key + r, column + c)
                              ? scores[c]
                              : broadcast<T>(-std::numeric_limits<T>::infinity());
            }
            highest[column + c] = larger<T>(highest[column + c], scores[c]);
            store<T>(scores_ + r * kRows + (column + c) * n, scores[c]);
          }
        });

    // Probabilities relative to the new maxima, their sums, and what the old sums shrink by.
    for (int c = 0; c < rows.registers; ++c) {
      const vec<T> top = highest[c];
      vec<T> total = vec<T>{};
      for (int64_t r = 0; r < count_; ++r) {
        T* at = scores_ + r * kRows + c * n;
        const vec<T> p = exp2_lanes<T>(load<T>(at) - top);
        total += p;
        store<T>(at, p);
      }
      store<T>(shrink_ + c * n, rows.go_on(c, top, total));
    }

    // Sums [channel, query] of probabilities times values.
    multiply<T>(
        {value_rows_.first, 1, value_rows_.second}, scores_, kRows, dim_, rows.registers, count_,
        [&](int64_t d, int c) {
          return load<T>(rows.sums + d * kRows + c * n) * load<T>(shrink_ + c * n);
        },
        [&]<int kColumns>(int64_t d, int column, vec<T>(&sums)[kColumns]) {
#pragma GCC unroll 8
          for (int c = 0; c < kColumns; ++c) {
            store<T>(rows.sums + d * kRows + (column + c) * n, sums[c]);
          }
        });
  }

 private:
  // Rows as accumulators, and their stride.
  std::pair<const T*, int64_t> rows_of(const Storage* rows, int64_t stride, T* widened) const {
    if constexpr (kWiden) {
      for (int64_t i = 0; i < count_; ++i) {
        for (int64_t d = 0; d < dim_; ++d) widened[i * dim_ + d] = T(rows[i * stride + d]);
      }
      return {widened, dim_};
    } else {
      return {rows, stride};
    }
  }

  T *scores_, *keys_, *values_;
  T factor_;
  int64_t dim_, count_ = 0;
  std::pair<const T*, int64_t> key_rows_, value_rows_;
  alignas(64) T shrink_[kRows];
};

#if defined(ELASTRON_AMX)

// The same in tile registers. Scores become probabilities where they lie: a pair of keys takes the
// row of one.
class AmxProducts {
  static constexpr int n = kLanes<float>;
  using Rows = QueryRows<float>;
  // Probabilities may grow to 2 to this before sums shrink for a larger score: float32 has room.
  static constexpr float kRoom = 8;

 public:
  // What is done to keys and values before their products is done once for so many query tiles.
  static constexpr int kTilesAtOnce = 8;
  // The more, the less often sums come and go.
  static constexpr int kKeysAtOnce = AmxAttentionSpace::kKeys;

  AmxProducts(float* memory, const AttentionForwardArgs& args)
      : scores_(memory),  // [keys, rows]
        space_(scores_ + kKeysAtOnce * kRows, args.shape.head_dim),
        factor_(float(args.scale * std::numbers::log2e)),
        dim_(args.shape.head_dim) {}
  static int64_t elements(int64_t head_dim) {
    return kKeysAtOnce * kRows + AmxAttentionSpace::bytes(head_dim) / int64_t(sizeof(float));
  }

  template <class Row>
  void pack_queries(const Row& row, Rows& to) const {
    amx_pack_queries(row, to.rows, dim_, reinterpret_cast<bf16*>(to.queries));
  }

  void read(const bf16* keys, int64_t key_stride, const bf16* values, int64_t value_stride,
            int64_t count) {
    count_ = count;
    // Beyond the last key there may be nothing to read; and rows that lie a page apart would push
    // each other out of the cache.
    for (int64_t r = 0; r < count; ++r) {
      std::copy_n(keys + r * key_stride, dim_, space_.keys + r * dim_);
    }
    std::fill_n(space_.keys + count * dim_, (whole(count) - count) * dim_, bf16{});
    amx_transpose_values(values, value_stride, count, dim_, space_.values);
  }

  template <KeyMask kMask>
  void add_to(Rows& rows, int64_t key) {
    const int64_t count = kMask == KeyMask::none ? count_ : rows.keys_before_end(key, count_);
    amx_multiply<false>({space_.keys, dim_, reinterpret_cast<const bf16*>(rows.queries), nullptr,
                         2 * kRows, scores_, kRows},
                        (count + 15) / 16, rows.registers, dim_);
    for (int c = 0; c < rows.registers; ++c) {
      const vec<float> shrink = soften<kMask>(rows, key, count, c);
      if (_mm512_cmpneq_ps_mask(__m512(shrink), _mm512_set1_ps(1)) == 0) continue;
      for (int64_t d = 0; d < dim_; ++d) {
        float* at = rows.sums + d * kRows + c * n;
        store<float>(at, load<float>(at) * shrink);
      }
    }
    amx_multiply<true>({space_.values, kKeysAtOnce, reinterpret_cast<const bf16*>(scores_),
                        space_.low, 2 * kRows, rows.sums, kRows},
                       dim_ / 16, rows.registers, whole(count));
  }

 private:
  static int64_t whole(int64_t count) { return (count + 31) / 32 * 32; }

  // Scores of 16 queries to probabilities, zero up to whole(count) keys. -> what sums shrink by.
  template <KeyMask kMask>
  vec<float> soften(Rows& rows, int64_t key, int64_t count, int c) {
    const vec<float> factor = broadcast<float>(factor_);
    float* const scores = scores_ + c * n;
    const vec<float> before = load<float>(rows.maximum + c * n);
    vec<float> largest = broadcast<float>(-std::numeric_limits<float>::infinity());
    for (int64_t r = 0; r < count; ++r) {
      vec<float> score = load<float>(scores + r * kRows);
      if constexpr (kMask != KeyMask::none) {
        score = rows.visible<kMask>(key + r, c)
                    ? score
                    : broadcast<float>(-std::numeric_limits<float>::infinity());
        store<float>(scores + r * kRows, score);
      }
      largest = larger<float>(largest, score);
    }
    largest = largest * factor;
    // Not <=, so that NaN stays.
    const vec<float> top = before + kRoom >= largest ? before : largest;
    const auto probability = [&](int64_t r) {
      return exp2_lanes<float>(multiply_add<float>(load<float>(scores + r * kRows), factor, -top));
    };
    const vec<float> none{};
    vec<float> total = none;
    auto* const high = reinterpret_cast<bf16*>(scores_);
    int64_t r = 0;
    const auto pair = [&](vec<float> even, vec<float> odd) {
      total += even + odd;
      const int64_t at = r * kRows + c * 2 * n;
      amx_split(even, odd, high + at, space_.low + at);
    };
    for (; r + 2 <= count; r += 2) pair(probability(r), probability(r + 1));
    if (r < count) {
      pair(probability(r), none);
      r += 2;
    }
    for (; r < whole(count); r += 2) pair(none, none);
    return rows.go_on(c, top, total);
  }

  AmxTiles registers_;
  float* scores_;
  AmxAttentionSpace space_;
  float factor_;
  int64_t dim_, count_ = 0;
};

#endif

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
    unpack_transposed<T, Storage>(rows.sums, kRows, inverse_, rows.rows, shape_.head_dim,
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
  alignas(64) T inverse_[kRows];
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
