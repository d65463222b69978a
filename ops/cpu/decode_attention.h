// CPU back end of ops/decode_attention.h: plain pointers, everything checked by the caller.
#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "core/dtype.h"
#include "ops/cpu/simd.h"
#include "ops/detail/vector_math.h"
#include "ops/kv_cache.h"

namespace elastron::ops::cpu {

// Rows that stand one behind the other, in the order of the cache's.
template <class T>
struct CachedRun {
  const T *keys, *values;
  int64_t rows;
};

// f(run, the keys of the run after it, or null).
template <class T, class F>
void for_each_run(const CachedHead& head, const VisibleRows& visible, const PageShape& page,
                  const F& f) {
  CachedRun<T> last{};
  for (const auto& range : visible.ranges) {
    for (int64_t r = range.begin; r < range.end;) {
      const int64_t n = std::min(range.end - r, page.rows - r % page.rows);
      const T* k = static_cast<const T*>(head.pages[r / page.rows]) + r % page.rows * page.head_dim;
      if (last.rows > 0) f(last, k);
      last = {k, k + page.rows * page.head_dim, n};
      r += n;
    }
  }
  if (last.rows > 0) f(last, static_cast<const T*>(nullptr));
}

// The query heads of one kv head while keys and values go by: each run of them is read once for all
// of the heads, scores first, then the softmax goes on from the largest score so far. Sums are in
// registers over a run, of `kHeads` heads at a time.
template <class T>
class DecodedHead {
  using A = accumulator_t<T>;
  static constexpr int n = kLanes<A>, kKeys = 4, kHeads = 2, kChannels = 4;

 public:
  // Of groups of that shape, one after the other; runs of at most `most_rows`.
  DecodedHead(int64_t group, int64_t head_dim, int64_t most_rows, double scale)
      : scale_(A(scale)),
        group_(group),
        dim_(head_dim),
        registers_((head_dim + n - 1) / n),
        most_rows_(most_rows),
        queries_(size_t(group * registers_ * n), A(0)),
        sums_(queries_.size()),
        scores_(size_t(group * most_rows)),
        largest_(size_t(group)),
        total_(size_t(group)) {}

  // q [group, head_dim]
  void start(const T* q) {
    std::ranges::fill(sums_, A(0));
    std::ranges::fill(total_, A(0));
    std::ranges::fill(largest_, -std::numeric_limits<A>::infinity());
    const int64_t group = group_;
    for (int64_t g = 0; g < group; ++g) {
      for (int64_t i = 0; i < dim_; ++i) {
        queries_[size_t(g * registers_ * n + i)] = scale_ * A(q[g * dim_ + i]);
      }
    }
  }

  // Of `run` and, as they come next, of the keys `next` too, memory is asked for while something else is
  // computed.
  void add(const CachedRun<T>& run, const T* next) {
    const T *keys = run.keys, *values = run.values;
    const int64_t rows = run.rows;
    for_heads([&]<int H>(int64_t head) {
      values_ahead_ = head == 0 ? values - keys : 0;
      keys_ahead_ = head == 0 && next != nullptr ? next - values : 0;
      int64_t r = 0;
      for (; r + kKeys <= rows; r += kKeys) score<kKeys, H>(keys, r, head);
      for (; r < rows; ++r) score<1, H>(keys, r, head);
      for (int64_t h = head; h < head + H; ++h) soften(h, rows);
      int64_t c = 0;
      for (; c + kChannels <= registers_; c += kChannels) mix<kChannels, H>(values, rows, c, head);
      for (; c < registers_; ++c) mix<1, H>(values, rows, c, head);
    });
  }

  // out [group, head_dim]
  void emit(T* out) const {
    for (int64_t g = 0; g < group_; ++g) {
      for (int64_t i = 0; i < dim_; ++i) {
        detail::put(out[g * dim_ + i], sums_[size_t(g * registers_ * n + i)] / total_[size_t(g)]);
      }
    }
  }

 private:
  // f<heads>(first) for all heads, some at a time.
  template <class F>
  void for_heads(const F& f) {
    int64_t g = 0;
    for (; g + kHeads <= group_; g += kHeads) f.template operator()<kHeads>(g);
    for (; g < group_; ++g) f.template operator()<1>(g);
  }
  vec<A> channels(const T* row, int64_t c) const {
    return load_widened<A, T>(row + c * n, dim_ - c * n);
  }

  // Those that lie `ahead` of these numbers; 0: they were asked for.
  static void ask_for(const T* numbers, int64_t ahead, int64_t count) {
    constexpr int64_t kLine = 64 / int64_t(sizeof(T));
    if (ahead == 0) return;
    for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(numbers + ahead + i);
  }

  template <int K, int H>
  void score(const T* keys, int64_t row, int64_t head) {
    vec<A> lanes[K][H] = {};
    ask_for(keys + row * dim_, values_ahead_, K * dim_);
    for (int64_t c = 0; c < registers_; ++c) {
      vec<A> q[H];
#pragma GCC unroll 8
      for (int h = 0; h < H; ++h) {
        q[h] = load<A>(queries_.data() + ((head + h) * registers_ + c) * n);
      }
#pragma GCC unroll 8
      for (int k = 0; k < K; ++k) {
        const vec<A> key = channels(keys + (row + k) * dim_, c);
#pragma GCC unroll 8
        for (int h = 0; h < H; ++h) lanes[k][h] = multiply_add<A>(key, q[h], lanes[k][h]);
      }
    }
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k) {
#pragma GCC unroll 8
      for (int h = 0; h < H; ++h) {
        scores_[size_t((head + h) * most_rows_ + row + k)] = add_lanes<A>(lanes[k][h]);
      }
    }
  }

  // Scores to probabilities; what was summed so far shrinks as they do.
  void soften(int64_t head, int64_t rows) {
    A* s = scores_.data() + head * most_rows_;
    A& largest = largest_[size_t(head)];
    const A next = std::max(largest, *std::max_element(s, s + rows));
    const A keep = detail::fast_exp(largest - next);
    const A sum = exponentials(s, rows, next);
    largest = next;
    total_[size_t(head)] = total_[size_t(head)] * keep + sum;
    if (keep == A(1)) return;
    A* sums = sums_.data() + head * registers_ * n;
#pragma omp simd
    for (int64_t i = 0; i < registers_ * n; ++i) sums[i] *= keep;
  }
  static A exponentials(A* s, int64_t rows, A largest) {
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t r = 0; r < rows; ++r) sum += s[r] = detail::fast_exp(s[r] - largest);
    return sum;
  }

  template <int C, int H>
  void mix(const T* values, int64_t rows, int64_t channel, int64_t head) {
    A* const to = sums_.data() + (head * registers_ + channel) * n;
    vec<A> sums[H][C];
#pragma GCC unroll 8
    for (int h = 0; h < H; ++h) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sums[h][c] = load<A>(to + (h * registers_ + c) * n);
    }
    for (int64_t r = 0; r < rows; ++r) {
      ask_for(values + r * dim_ + channel * n, keys_ahead_, C * n);
      vec<A> value[C];
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) value[c] = channels(values + r * dim_, channel + c);
#pragma GCC unroll 8
      for (int h = 0; h < H; ++h) {
        const vec<A> p = broadcast<A>(scores_[size_t((head + h) * most_rows_ + r)]);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sums[h][c] = multiply_add<A>(p, value[c], sums[h][c]);
      }
    }
#pragma GCC unroll 8
    for (int h = 0; h < H; ++h) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) store<A>(to + (h * registers_ + c) * n, sums[h][c]);
    }
  }

  A scale_;
  int64_t values_ahead_ = 0, keys_ahead_ = 0;
  int64_t group_, dim_;
  int64_t registers_;  // of a head's channels, the last filled up with zeros
  int64_t most_rows_;
  std::vector<A> queries_, sums_;  // [group, registers, lanes]
  std::vector<A> scores_;          // [group, most_rows]
  std::vector<A> largest_, total_;
};

// q, out [group, head_dim]: the query heads of one kv head.
template <class T>
void decode_head(const T* q, const CachedHead& head, int64_t position, const PageShape& page,
                 DecodedHead<T>& decoded, T* out) {
  decoded.start(q);
  for_each_run<T>(head, head.rows.visible(position), page,
                  [&](const CachedRun<T>& run, const T* next) { decoded.add(run, next); });
  decoded.emit(out);
}

}  // namespace elastron::ops::cpu
