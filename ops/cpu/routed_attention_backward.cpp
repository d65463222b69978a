// Backward through the selected branch only (docs/method.md, Selected backward), deterministic
// without atomics on data.
//
// A piece of work is a key tile: it owns its rows of dk and dv and walks over the query tiles that
// see it. Rows of dq are shared by the key tiles; each query tile has a counter that admits key
// tiles in ascending order, so that the sum does not depend on who computes what. Threads take
// pieces in the order of the schedule, in which whoever has to be waited for stands earlier: the
// thread that holds it is already running, and there is no deadlock.
//
// Lanes are keys: keys and values are transposed once per piece, queries and dO are read row by
// row.
#include <omp.h>

#include <atomic>
#include <memory>
#include <numbers>
#include <thread>
#include <type_traits>
#include <vector>

#include "ops/attention/schedule.h"
#include "ops/cpu/parallel_for.h"
#include "ops/cpu/routed_attention.h"
#include "ops/cpu/routed_attention_gemm.h"

namespace elastron::ops::cpu {
namespace {

constexpr int64_t kKeys = kTileKeys;

// head_dim rounded up to whole registers of either type.
int64_t padded_dim(int64_t head_dim) {
  constexpr int64_t most = kLanes<float>;
  return (head_dim + most - 1) / most * most;
}

// Slices of one thread's workspace.
template <class T>
struct BackwardWorkspace {
  T *keys_t, *values_t, *dk_t, *dv_t, *keys, *queries, *d_out, *p, *ds;
  BackwardWorkspace(std::byte* memory, int64_t head_dim) {
    const int64_t square = head_dim * kKeys;
    keys_t = reinterpret_cast<T*>(memory);  // [head_dim, keys]
    values_t = keys_t + square;             // [head_dim, keys]
    dk_t = values_t + square;               // [head_dim, keys]
    dv_t = dk_t + square;                   // [head_dim, keys]
    queries = dv_t + square;                // [rows, head_dim], times scale * log2(e)
    d_out = queries + square;               // [rows, head_dim]
    p = d_out + square;                     // [rows, keys]: scores, then probabilities
    ds = p + kTileRows * kKeys;             // [rows, keys]: dp, then ds
    keys = ds + kTileRows * kKeys;          // [keys, padded head_dim], times scale
  }
  static int64_t elements(int64_t head_dim) {
    static_assert(kTileRows == kKeys);
    return 6 * head_dim * kKeys + 2 * kTileRows * kKeys + kKeys * padded_dim(head_dim);
  }
};

// One counter per query tile of every sequence and its heads: how many key tiles have added to its
// dq.
class Turns {
 public:
  explicit Turns(const AttentionArgs& args) : heads_(args.tile_heads()) {
    int64_t count = 0;
    for (int64_t s = 0; s < args.varlen.sequences(); ++s) {
      first_.push_back(count);
      tiles_.push_back(tile_count(args.varlen.length(s), tile_tokens(heads_)));
      count += args.shape.q_heads / heads_ * tiles_.back();
    }
    counters_ = std::make_unique<std::atomic<int32_t>[]>(size_t(count));
  }
  std::atomic<int32_t>& of(int64_t sequence, int64_t head, int64_t tile) {
    const auto s = size_t(sequence);
    return counters_[size_t(first_[s] + head / heads_ * tiles_[s] + tile)];
  }
  static void wait(const std::atomic<int32_t>& counter, int64_t rank) {
    for (int spins = 0; counter.load(std::memory_order_acquire) < rank; ++spins) {
      if (spins > 64) std::this_thread::yield();  // its thread may have lost the core to us
    }
  }

 private:
  int64_t heads_;
  std::vector<int64_t> first_, tiles_;
  std::unique_ptr<std::atomic<int32_t>[]> counters_;
};

template <class Storage>
class BackwardTile {
  using T = accumulator_t<Storage>;
  using Integer = typename Simd<T>::Integer;
  static constexpr int n = kLanes<T>;

 public:
  BackwardTile(const AttentionBackwardArgs& args, Turns& turns, std::byte* memory)
      : args_(args), shape_(args.shape), turns_(turns), space_(memory, args.shape.head_dim) {}

  void run(const AttentionTile& work) {
    sequence_ = work.sequence;
    kv_head_ = work.head;
    key_tile_ = work.tile;
    const int64_t offset = args_.varlen.offset(sequence_);
    first_token_ = args_.varlen.begin(sequence_) - offset;
    first_key_ = args_.varlen.key_begin(sequence_);
    length_ = args_.varlen.key_length(sequence_);
    key_begin_ = key_tile_ * kKeys;
    keys_ = std::min(kKeys, length_ - key_begin_);
    load_keys();
    const int64_t tokens = tile_tokens(heads_), group = shape_.group();
    for (head_ = kv_head_ * group; head_ < (kv_head_ + 1) * group; head_ += heads_) {
      pattern_ = args_.key_set_pattern(sequence_, head_, key_begin_);
      QueryTiles walk(pattern_, key_begin_, key_begin_ + kKeys, offset, length_, tokens);
      for (int64_t tile = walk.next(); tile >= 0; tile = walk.next()) {
        const int64_t begin = offset + tile * tokens;
        query_tile(tile, begin, std::min(length_, begin + tokens));
      }
    }
    store_gradient(args_.dk, space_.dk_t, std::numbers::ln2_v<T>);
    store_gradient(args_.dv, space_.dv_t, T(1));
  }

 private:
  const Storage* key_row(const HeadsView& view, int64_t key) const {
    return static_cast<const Storage*>(view.data) +
           (first_key_ + key_begin_ + key) * view.token_stride + kv_head_ * shape_.head_dim;
  }

  void load_keys() {
    const int64_t dim = shape_.head_dim, padded = padded_dim(dim);
    pack_transposed<T, Storage>([&](int64_t r) { return key_row(args_.k, r); }, keys_, dim, T(1),
                                space_.keys_t, kKeys);
    pack_transposed<T, Storage>([&](int64_t r) { return key_row(args_.v, r); }, keys_, dim, T(1),
                                space_.values_t, kKeys);
    // dq = scale * ds k
    for (int64_t r = 0; r < keys_; ++r) {
      for (int64_t d = 0; d < padded; d += n) {
        const int64_t count = std::clamp<int64_t>(dim - d, 0, n);
        store<T>(space_.keys + r * padded + d,
                 load_widened<T, Storage>(key_row(args_.k, r) + std::min(d, dim), count) *
                     T(args_.scale));
      }
    }
    std::fill_n(space_.dk_t, dim * kKeys, T(0));
    std::fill_n(space_.dv_t, dim * kKeys, T(0));
  }

  // Rows of queries and dO side by side, and what belongs to each row.
  void load_queries(int64_t begin, int64_t end) {
    const int64_t dim = shape_.head_dim;
    const auto factor = T(args_.scale * std::numbers::log2e);
    const auto* lse = static_cast<const T*>(args_.lse);
    const auto* dots = static_cast<const T*>(args_.row_dots);
    int64_t r = 0;
    for (int64_t t = begin; t < end; ++t) {
      const int64_t token = first_token_ + t;
      for (int64_t head = head_; head < head_ + heads_; ++head, ++r) {
        const auto* q =
            static_cast<const Storage*>(args_.q.data) + token * args_.q.token_stride + head * dim;
        const auto* d_out = static_cast<const Storage*>(args_.d_out.data) +
                            token * args_.d_out.token_stride + head * dim;
        for (int64_t d = 0; d < dim; ++d) {
          space_.queries[r * dim + d] = T(q[d]) * factor;
        }
        for (int64_t d = 0; d < dim; ++d) space_.d_out[r * dim + d] = T(d_out[d]);
        const int64_t row = token * shape_.q_heads + head;
        lse_[r] = lse[row] * std::numbers::log2e_v<T>;
        dots_[r] = dots[row];
        dq_rows_[r] = static_cast<T*>(args_.dq_sums) + row * dim;
      }
    }
  }

  void query_tile(int64_t tile, int64_t begin, int64_t end) {
    const int64_t dim = shape_.head_dim;
    const int64_t rows = (end - begin) * heads_;
    const int64_t keys = std::min(keys_, end - key_begin_);  // the last query sees no more
    const int registers = int((keys + n - 1) / n);
    load_queries(begin, end);

    const auto zero = [](int64_t, int) { return vec<T>{}; };
    const auto into = [](T* to) {
      return [to]<int kColumns>(int64_t r, int column, vec<T>(&sums)[kColumns]) {
#pragma GCC unroll 8
        for (int c = 0; c < kColumns; ++c) store<T>(to + r * kKeys + (column + c) * n, sums[c]);
      };
    };
    const auto from = [](const T* at) {
      return [at](int64_t r, int c) { return load<T>(at + r * kKeys + c * n); };
    };
    multiply<T>({space_.queries, dim, 1}, space_.keys_t, kKeys, rows, registers, dim, zero,
                into(space_.p));
    multiply<T>({space_.d_out, dim, 1}, space_.values_t, kKeys, rows, registers, dim, zero,
                into(space_.ds));
    if (tile_fully_visible(pattern_.rule, pattern_.set, key_begin_, key_begin_ + kKeys, begin,
                           end)) {
      softmax_backward<false>(begin, rows, registers);
    } else {
      softmax_backward<true>(begin, rows, registers);
    }
    multiply<T>({space_.d_out, 1, dim}, space_.p, kKeys, dim, registers, rows, from(space_.dv_t),
                into(space_.dv_t));
    multiply<T>({space_.queries, 1, dim}, space_.ds, kKeys, dim, registers, rows, from(space_.dk_t),
                into(space_.dk_t));

    const BlockBits row = pattern_.set == KeySetKind::blocks
                              ? args_.key_pattern(sequence_, head_, begin).chosen
                              : BlockBits{};
    const int64_t rank = key_tile_rank(pattern_, row, key_tile_, begin, end);
    auto& turn = turns_.of(sequence_, head_, tile);
    Turns::wait(turn, rank);
    multiply<T>(
        {space_.ds, kKeys, 1}, space_.keys, padded_dim(dim), rows, int(padded_dim(dim)) / n, keys,
        [&](int64_t r, int c) {
          const int64_t d = std::min<int64_t>(c * n, dim);
          return rank == 0 ? vec<T>{} : load_widened<T, T>(dq_rows_[r] + d, dim - d);
        },
        [&]<int kColumns>(int64_t r, int column, vec<T>(&sums)[kColumns]) {
#pragma GCC unroll 8
          for (int c = 0; c < kColumns; ++c) {
            const int64_t d = std::min<int64_t>((column + c) * n, dim);
            store_narrowed<T, T>(dq_rows_[r] + d, sums[c], dim - d);
          }
        });
    turn.store(int32_t(rank + 1), std::memory_order_release);
  }

  // p = 2^(score - lse), ds = p (dp - <dO, O>), both 0 where the key is not visible.
  template <bool kMasked>
  void softmax_backward(int64_t begin, int64_t rows, int registers) {
    ivec<T> lane;
    for (int i = 0; i < n; ++i) lane[i] = Integer(i);
    T* const p = space_.p;
    T* const ds = space_.ds;
    for (int64_t r = 0; r < rows; ++r) {
      const vec<T> lse = broadcast<T>(lse_[r]), dot = broadcast<T>(dots_[r]);
      const int64_t query = begin + r / heads_;
      const auto last = Integer(query - key_begin_);
      const StreamingRule& rule = pattern_.rule;
      const bool streaming = pattern_.set == KeySetKind::streaming;
      const auto sink = Integer(
          streaming ? std::clamp<int64_t>(rule.sink_tokens() - key_begin_, 0, kKeys) : kKeys);
      const auto window =
          Integer(std::clamp<int64_t>(rule.local_begin(query) - key_begin_, 0, kKeys));
      for (int c = 0; c < registers; ++c) {
        const int64_t at = r * kKeys + c * n;
        vec<T> score = load<T>(p + at) - lse;
        vec<T> d_score = load<T>(ds + at) - dot;
        if constexpr (kMasked) {
          const ivec<T> key = lane + Integer(c * n);
          const ivec<T> visible = (key <= last) & ((key < sink) | (key >= window));
          score = visible ? score : broadcast<T>(-std::numeric_limits<T>::infinity());
          d_score = visible ? d_score : vec<T>{};
        }
        const vec<T> probability = exp2_lanes<T>(score);
        store<T>(p + at, probability);
        store<T>(ds + at, probability * d_score);
      }
    }
  }

  void store_gradient(void* gradient, const T* sums, T factor) const {
    T factors[kKeys];
    std::fill_n(factors, kKeys, factor);
    unpack_transposed<T, Storage>(sums, kKeys, factors, keys_, shape_.head_dim, [&](int64_t r) {
      return static_cast<Storage*>(gradient) +
             ((first_key_ + key_begin_ + r) * shape_.kv_heads + kv_head_) * shape_.head_dim;
    });
  }

  const AttentionBackwardArgs& args_;
  const AttentionShape shape_;
  Turns& turns_;
  BackwardWorkspace<T> space_;
  const int64_t heads_ = args_.tile_heads();
  KeySetPattern pattern_;
  int64_t sequence_ = 0, kv_head_ = 0, head_ = 0, key_tile_ = 0, key_begin_ = 0, keys_ = 0;
  int64_t first_token_ = 0, first_key_ = 0, length_ = 0;  // rows of position 0; keys
  T lse_[kTileRows], dots_[kTileRows];
  T* dq_rows_[kTileRows];
};

// Row dots <dO, O_selected>, and the gate's gradient, sum of <dO, O_full - O_sparse>: exactly zero
// where the two outputs are the same. Sums run over fixed chunks of each sequence, then in order.
template <class Storage>
void row_dots(const AttentionBackwardArgs& args) {
  using T = accumulator_t<Storage>;
  constexpr int n = kLanes<T>;
  constexpr int64_t kChunk = 64;
  struct Chunk {
    int64_t sequence, begin, end;
  };
  std::vector<Chunk> chunks;
  for (int64_t s = 0; s < args.varlen.sequences(); ++s) {
    for (int64_t t = 0; t < args.varlen.length(s); t += kChunk) {
      chunks.push_back({s, args.varlen.begin(s) + t,
                        args.varlen.begin(s) + std::min(args.varlen.length(s), t + kChunk)});
    }
  }
  const AttentionShape shape = args.shape;
  const int64_t dim = shape.head_dim, group = shape.group();
  std::vector<double> partial(args.d_gate != nullptr ? chunks.size() * size_t(shape.kv_heads) : 0);
  parallel_rows(int64_t(chunks.size()), kChunk * shape.q_heads * dim, [&](int64_t i) {
    const Chunk& chunk = chunks[size_t(i)];
    for (int64_t t = chunk.begin; t < chunk.end; ++t) {
      for (int64_t h = 0; h < shape.q_heads; ++h) {
        const int64_t row = t * shape.q_heads + h;
        const auto* d_out =
            static_cast<const Storage*>(args.d_out.data) + t * args.d_out.token_stride + h * dim;
        const auto* selected = static_cast<const Storage*>(args.selected) + row * dim;
        const auto* other =
            args.d_gate == nullptr ? selected : static_cast<const Storage*>(args.other) + row * dim;
        vec<T> dot = vec<T>{}, difference = vec<T>{};
        for (int64_t d = 0; d < dim; d += n) {
          const vec<T> g = load_widened<T, Storage>(d_out + d, dim - d);
          const vec<T> o = load_widened<T, Storage>(selected + d, dim - d);
          dot = multiply_add<T>(g, o, dot);
          difference =
              multiply_add<T>(g, o - load_widened<T, Storage>(other + d, dim - d), difference);
        }
        if (args.row_dots != nullptr) static_cast<T*>(args.row_dots)[row] = add_lanes<T>(dot);
        if (args.d_gate != nullptr) {
          partial[size_t(i * shape.kv_heads + h / group)] += double(add_lanes<T>(difference));
        }
      }
    }
  });
  if (args.d_gate == nullptr) return;
  const int64_t gates = args.varlen.sequences() * shape.kv_heads;
  std::vector<double> sums(static_cast<size_t>(gates));
  for (size_t i = 0; i < chunks.size(); ++i) {
    for (int64_t h = 0; h < shape.kv_heads; ++h) {
      sums[size_t(chunks[i].sequence * shape.kv_heads + h)] +=
          partial[i * size_t(shape.kv_heads) + size_t(h)];
    }
  }
  for (int64_t g = 0; g < gates; ++g) {
    const double sum = sums[size_t(g)];
    static_cast<T*>(args.d_gate)[g] = T(args.gate[g] != 0 ? sum : -sum);
  }
}

}  // namespace

size_t attention_backward_workspace(int64_t head_dim, size_t accumulator_bytes) {
  return size_t(BackwardWorkspace<float>::elements(head_dim)) * accumulator_bytes;
}

template <class Storage>
void routed_attention_backward(const AttentionBackwardArgs& args, int threads,
                               std::byte* workspace) {
  using T = accumulator_t<Storage>;
  row_dots<Storage>(args);
  if (args.dq == nullptr) return;

  const AttentionShape shape = args.shape;
  const size_t slice = attention_backward_workspace(shape.head_dim, sizeof(T));
  const auto work = backward_schedule(args);
  Turns turns(args);
  std::atomic<size_t> next{0};  // handed out strictly in order, which the turns rely on
#pragma omp parallel num_threads(std::clamp(int(work.size()), 1, threads))
  {
    BackwardTile<Storage> tile(args, turns, workspace + size_t(omp_get_thread_num()) * slice);
    for (size_t i = next++; i < work.size(); i = next++) tile.run(work[i]);
  }

  if constexpr (!std::is_same_v<Storage, T>) {
    const int64_t count = shape.q_heads * shape.head_dim;
    parallel_rows(args.varlen.tokens(), count, [&](int64_t t) {
      const T* sums = static_cast<const T*>(args.dq_sums) + t * count;
      auto* dq = static_cast<Storage*>(args.dq) + t * count;
      for (int64_t i = 0; i < count; ++i) dq[i] = Storage(sums[i]);
    });
  }
}

template void routed_attention_backward<double>(const AttentionBackwardArgs&, int, std::byte*);
template void routed_attention_backward<float>(const AttentionBackwardArgs&, int, std::byte*);
template void routed_attention_backward<bf16>(const AttentionBackwardArgs&, int, std::byte*);

}  // namespace elastron::ops::cpu
