// The queries of an attention tile on a CPU: which keys each of them sees, and its running softmax
// (docs/method.md, One pass).
#pragma once
#include <algorithm>
#include <cstring>
#include <limits>

#include "ops/attention/key_tiles.h"
#include "ops/attention/tile_plan.h"
#include "ops/cpu/simd.h"

namespace elastron::ops::cpu {

inline constexpr int64_t kQueryRows = kTileRows;

// Where a tile of queries keeps its operands and sums, in a thread's workspace.
template <class T>
struct QueryMemory {
  T *queries, *sums, *stash;
  QueryMemory(T* memory, int64_t head_dim)
      : queries(memory),                        // [head_dim, rows]
        sums(queries + head_dim * kQueryRows),  // [head_dim, rows], not yet divided
        stash(sums + head_dim * kQueryRows) {}  // [head_dim, rows]: sums of the common keys
  static int64_t elements(int64_t head_dim) { return 3 * head_dim * kQueryRows; }
};

// The rows of a tile of queries, up to kQueryRows, and their running softmax.
template <class T>
class QueryRows {
  static constexpr int n = kLanes<T>;
  using Integer = typename Simd<T>::Integer;

 public:
  static constexpr int kRegisters = int(kQueryRows) / n;

  // Tokens [begin, end) times `heads` heads, a register after the other.
  void start(const StreamingRule& rule, int64_t begin, int64_t end, int64_t heads,
             const QueryMemory<T>& memory, int64_t head_dim) {
    rule_ = rule, begin_ = begin, end_ = end, heads_ = heads;
    sums = memory.sums, stash_ = memory.stash, queries = memory.queries;
    numbers_ = head_dim * kQueryRows;
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
    std::copy_n(maximum, kQueryRows, kept_maximum_);
    std::copy_n(sum, kQueryRows, kept_sum_);
  }
  void take_back() {
    std::copy_n(stash_, numbers_, sums);
    std::copy_n(kept_maximum_, kQueryRows, maximum);
    std::copy_n(kept_sum_, kQueryRows, sum);
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
  alignas(64) T maximum[kQueryRows], sum[kQueryRows];

 private:
  StreamingRule rule_;
  int64_t begin_ = 0, end_ = 0, heads_ = 1, numbers_ = 0;
  T* stash_ = nullptr;
  T kept_maximum_[kQueryRows], kept_sum_[kQueryRows];
  alignas(64) Integer position_[kQueryRows], window_[kQueryRows];
};

}  // namespace elastron::ops::cpu
