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
#include "ops/cpu/routed_attention_gemm.h"

namespace elastron::ops::cpu {
namespace {

constexpr int64_t kRows = kTileRows;

// Slices of one thread's workspace, in elements of the accumulator type.
template <class T>
struct ForwardWorkspace {
  T *queries, *scores, *sums, *stash, *keys, *values;
  ForwardWorkspace(std::byte* memory, int64_t head_dim) {
    queries = reinterpret_cast<T*>(memory);  // [head_dim, rows]
    sums = queries + head_dim * kRows;       // [head_dim, rows], not yet divided
    stash = sums + head_dim * kRows;         // [head_dim, rows]: sums of the common keys
    scores = stash + head_dim * kRows;       // [keys, rows]
    keys = scores + kTileKeys * kRows;       // [keys, head_dim]: widened bf16
    values = keys + kTileKeys * head_dim;
  }
  static int64_t elements(int64_t head_dim) {
    return 3 * head_dim * kRows + kTileKeys * kRows + 2 * kTileKeys * head_dim;
  }
};

template <class Storage>
class ForwardTile {
  using T = accumulator_t<Storage>;
  static constexpr int n = kLanes<T>;
  static constexpr int kRegisters = int(kRows) / n;
  static constexpr bool kWiden = !std::is_same_v<Storage, T>;

 public:
  ForwardTile(const AttentionForwardArgs& args, std::byte* memory)
      : args_(args), shape_(args.shape), space_(memory, args.shape.head_dim) {}

  void run(const AttentionTile& work) {
    const int64_t tokens = tile_tokens(heads_);
    const int64_t offset = args_.varlen.offset(work.sequence);
    first_token_ = args_.varlen.begin(work.sequence) - offset;
    first_key_ = args_.varlen.key_begin(work.sequence);
    begin_ = offset + work.tile * tokens;
    end_ = std::min(args_.varlen.key_length(work.sequence), begin_ + tokens);
    head_ = work.head;
    kv_head_ = work.head / shape_.group();
    rule_ = args_.rule_of(work.sequence);
    start();
    const bool open = args_.open(work.sequence, kv_head_), both = args_.other != nullptr;
    const Output retrieval = open ? Output{args_.selected, args_.lse} : other();
    const Output sparse = open ? other() : Output{args_.selected, args_.lse};
    const KeyPattern pattern = args_.key_pattern(work.sequence, head_, begin_);
    KeyTiles<kTileKeys> walk(pattern, begin_, end_, both || open, both || !open);
    KeyTile at = walk.next();
    const auto visit = [&](Part part) {
      for (; at.part == part; at = walk.next()) tile(at);
    };
    visit(Part::common);
    // Where the pair is not nested both branches have keys of their own.
    const bool apart = !args_.sets.nested() && both;
    if (apart) keep();
    if (!apart && sparse.rows != nullptr) emit(sparse);
    if (retrieval.rows != nullptr) {
      visit(Part::retrieval);
      emit(retrieval);
    }
    if (apart) {
      take_back();
      visit(Part::sparse);
      emit(sparse);
    }
    if (args_.visited != nullptr) {
      const int64_t tiles = count_branch_tiles<kTileKeys>(pattern, begin_, end_, open);
      int64_t& sum = args_.visited[work.sequence * shape_.kv_heads + kv_head_];
#pragma omp atomic
      sum += tiles;
    }
  }

 private:
  struct Output {
    void *rows, *lse;
  };
  Output other() const { return {args_.other, args_.lse_other}; }

  int64_t token_of(int64_t row) const { return begin_ + row / heads_; }
  int64_t head_of(int64_t row) const { return head_ + row % heads_; }

  void start() {
    rows_ = (end_ - begin_) * heads_;
    registers_ = int((rows_ + n - 1) / n);
    const auto* q = static_cast<const Storage*>(args_.q.data);
    const auto row = [&](int64_t r) {
      return q + (first_token_ + token_of(r)) * args_.q.token_stride + head_of(r) * shape_.head_dim;
    };
    pack_transposed<T, Storage>(row, rows_, shape_.head_dim, T(args_.scale * std::numbers::log2e),
                                space_.queries, kRows);
    for (int64_t r = 0; r < registers_ * n; ++r) {
      // Lanes behind the last row compute something finite that nobody reads.
      const int64_t token = token_of(std::min(r, rows_ - 1));
      position_[r] = Integer(token);
      window_[r] = Integer(rule_.local_begin(token));
      // Any number below every score that is not minus infinity, so that a tile without a visible
      // key gives 2^-inf = 0 and not a NaN.
      maximum_[r] = std::numeric_limits<T>::lowest() / 4;
      sum_[r] = 0;
    }
    std::fill_n(space_.sums, shape_.head_dim * kRows, T(0));
  }

  // The state after the keys of both branches, for the second of them.
  void keep() {
    std::copy_n(space_.sums, shape_.head_dim * kRows, space_.stash);
    std::copy_n(maximum_, kRows, kept_maximum_);
    std::copy_n(sum_, kRows, kept_sum_);
  }
  void take_back() {
    std::copy_n(space_.stash, shape_.head_dim * kRows, space_.sums);
    std::copy_n(kept_maximum_, kRows, maximum_);
    std::copy_n(kept_sum_, kRows, sum_);
  }

  void tile(const KeyTile& at) {
    const int64_t key = at.begin, count = at.end - at.begin;
    switch (at.mask) {
      case KeyMask::none: return masked_tile<KeyMask::none>(key, count);
      case KeyMask::causal: return masked_tile<KeyMask::causal>(key, count);
      case KeyMask::shown: return masked_tile<KeyMask::shown>(key, count);
      case KeyMask::hidden: return masked_tile<KeyMask::hidden>(key, count);
    }
  }

  // Rows of `count` keys or values of this kv head, as accumulators, and their stride.
  std::pair<const T*, int64_t> rows_of(const HeadsView& view, int64_t key, int64_t count,
                                       T* widened) const {
    const auto* rows = static_cast<const Storage*>(view.data) +
                       (first_key_ + key) * view.token_stride + kv_head_ * shape_.head_dim;
    if constexpr (kWiden) {
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t d = 0; d < shape_.head_dim; ++d) {
          widened[i * shape_.head_dim + d] = T(rows[i * view.token_stride + d]);
        }
      }
      return {widened, shape_.head_dim};
    } else {
      return {rows, view.token_stride};
    }
  }

  template <KeyMask kMask>
  void masked_tile(int64_t key, int64_t count) {
    const auto [keys, key_stride] = rows_of(args_.k, key, count, space_.keys);
    const auto [values, value_stride] = rows_of(args_.v, key, count, space_.values);
    vec<T> highest[kRegisters];
    for (int c = 0; c < registers_; ++c) highest[c] = load<T>(maximum_ + c * n);

    // Scores [key, query] and their maxima.
    multiply<T>(
        {keys, key_stride, 1}, space_.queries, kRows, count, registers_, shape_.head_dim,
        [](int64_t, int) { return vec<T>{}; },
        [&, key]<int kColumns>(int64_t r, int column, vec<T>(&scores)[kColumns]) {
#pragma GCC unroll 8
          for (int c = 0; c < kColumns; ++c) {
            if constexpr (kMask != KeyMask::none) {
              scores[c] = visible<kMask>(key + r, column + c)
                              ? scores[c]
                              : broadcast<T>(-std::numeric_limits<T>::infinity());
            }
            highest[column + c] = larger<T>(highest[column + c], scores[c]);
            store<T>(space_.scores + r * kRows + (column + c) * n, scores[c]);
          }
        });

    // Probabilities relative to the new maxima, their sums, and what the old sums shrink by.
    for (int c = 0; c < registers_; ++c) {
      const vec<T> top = highest[c];
      vec<T> total = vec<T>{};
      for (int64_t r = 0; r < count; ++r) {
        T* at = space_.scores + r * kRows + c * n;
        const vec<T> p = exp2_lanes<T>(load<T>(at) - top);
        total += p;
        store<T>(at, p);
      }
      const vec<T> shrink = exp2_lanes<T>(load<T>(maximum_ + c * n) - top);
      store<T>(shrink_ + c * n, shrink);
      store<T>(maximum_ + c * n, top);
      store<T>(sum_ + c * n, multiply_add<T>(load<T>(sum_ + c * n), shrink, total));
    }

    // Sums [channel, query] of probabilities times values.
    multiply<T>(
        {values, 1, value_stride}, space_.scores, kRows, shape_.head_dim, registers_, count,
        [&](int64_t d, int c) {
          return load<T>(space_.sums + d * kRows + c * n) * load<T>(shrink_ + c * n);
        },
        [&]<int kColumns>(int64_t d, int column, vec<T>(&sums)[kColumns]) {
#pragma GCC unroll 8
          for (int c = 0; c < kColumns; ++c) {
            store<T>(space_.sums + d * kRows + (column + c) * n, sums[c]);
          }
        });
  }

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

  void emit(const Output& out) {
    auto* rows_out = static_cast<Storage*>(out.rows);
    auto* lse = static_cast<T*>(out.lse);
    for (int64_t r = 0; r < registers_ * n; ++r) inverse_[r] = T(1) / sum_[r];
    const auto row = [&](int64_t r) {
      return rows_out +
             ((first_token_ + token_of(r)) * shape_.q_heads + head_of(r)) * shape_.head_dim;
    };
    unpack_transposed<T, Storage>(space_.sums, kRows, inverse_, rows_, shape_.head_dim, row);
    if (lse == nullptr) return;
    for (int64_t r = 0; r < rows_; ++r) {
      lse[(first_token_ + token_of(r)) * shape_.q_heads + head_of(r)] =
          (maximum_[r] + std::log2(sum_[r])) * std::numbers::ln2_v<T>;
    }
  }

  using Integer = typename Simd<T>::Integer;
  const AttentionForwardArgs& args_;
  const AttentionShape shape_;
  const int64_t heads_ = args_.tile_heads();
  ForwardWorkspace<T> space_;
  StreamingRule rule_;
  // Rows of position 0 of the sequence: first_token_ + position is a query's, first_key_ + position
  // a key's.
  int64_t first_token_ = 0, first_key_ = 0;
  int64_t begin_ = 0, end_ = 0, head_ = 0, kv_head_ = 0, rows_ = 0;
  int registers_ = 0;
  alignas(64) T maximum_[kRows], sum_[kRows], shrink_[kRows], inverse_[kRows];
  T kept_maximum_[kRows], kept_sum_[kRows];
  alignas(64) Integer position_[kRows], window_[kRows];
};

}  // namespace

size_t attention_forward_workspace(int64_t head_dim, size_t accumulator_bytes) {
  return size_t(ForwardWorkspace<float>::elements(head_dim)) * accumulator_bytes;
}

template <class Storage>
void routed_attention_forward(const AttentionForwardArgs& args, int threads, std::byte* workspace) {
  const size_t slice =
      attention_forward_workspace(args.shape.head_dim, sizeof(accumulator_t<Storage>));
  const auto work = forward_schedule(args, args.other != nullptr);
  const auto count = int64_t(work.size());
#pragma omp parallel num_threads(int(std::clamp <int64_t>(count, 1, threads)))
  {
    ForwardTile<Storage> tile(args, workspace + size_t(omp_get_thread_num()) * slice);
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < count; ++i) tile.run(work[size_t(i)]);
  }
}

template void routed_attention_forward<double>(const AttentionForwardArgs&, int, std::byte*);
template void routed_attention_forward<float>(const AttentionForwardArgs&, int, std::byte*);
template void routed_attention_forward<bf16>(const AttentionForwardArgs&, int, std::byte*);

}  // namespace elastron::ops::cpu
