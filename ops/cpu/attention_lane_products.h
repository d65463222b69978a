// The two products of an attention tile in the lanes of registers: every CPU and dtype.
#pragma once
#include <numbers>
#include <type_traits>
#include <utility>

#include "ops/attention/args.h"
#include "ops/cpu/attention_query_rows.h"
#include "ops/cpu/routed_attention_gemm.h"

namespace elastron::ops::cpu {

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
      : scores_(memory),                          // [keys, rows]
        keys_(scores_ + kTileKeys * kQueryRows),  // [keys, head_dim]: widened bf16
        values_(keys_ + kTileKeys * args.shape.head_dim),
        factor_(T(args.scale * std::numbers::log2e)),
        dim_(args.shape.head_dim) {}
  static int64_t elements(int64_t head_dim) {
    return kTileKeys * kQueryRows + 2 * kTileKeys * head_dim;
  }

  template <class Row>
  void pack_queries(const Row& row, Rows& to) const {
    pack_transposed<T, Storage>(row, to.rows, dim_, factor_, to.queries, kQueryRows);
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
        {key_rows_.first, key_rows_.second, 1}, rows.queries, kQueryRows, count_, rows.registers,
        dim_, [](int64_t, int) { return vec<T>{}; },
        [&, key]<int kColumns>(int64_t r, int column, vec<T>(&scores)[kColumns]) {
          static_cast<void>(key);  // where nothing is masked
#pragma GCC unroll 8
          for (int c = 0; c < kColumns; ++c) {
            if constexpr (kMask != KeyMask::none) {
              scores[c] = rows.template visible<kMask>(key + r, column + c)
                              ? scores[c]
                              : broadcast<T>(-std::numeric_limits<T>::infinity());
            }
            highest[column + c] = larger<T>(highest[column + c], scores[c]);
            store<T>(scores_ + r * kQueryRows + (column + c) * n, scores[c]);
          }
        });

    // Probabilities relative to the new maxima, their sums, and what the old sums shrink by.
    for (int c = 0; c < rows.registers; ++c) {
      const vec<T> top = highest[c];
      vec<T> total = vec<T>{};
      for (int64_t r = 0; r < count_; ++r) {
        T* at = scores_ + r * kQueryRows + c * n;
        const vec<T> p = exp2_lanes<T>(load<T>(at) - top);
        total += p;
        store<T>(at, p);
      }
      store<T>(shrink_ + c * n, rows.go_on(c, top, total));
    }

    // Sums [channel, query] of probabilities times values.
    multiply<T>(
        {value_rows_.first, 1, value_rows_.second}, scores_, kQueryRows, dim_, rows.registers,
        count_,
        [&](int64_t d, int c) {
          return load<T>(rows.sums + d * kQueryRows + c * n) * load<T>(shrink_ + c * n);
        },
        [&]<int kColumns>(int64_t d, int column, vec<T>(&sums)[kColumns]) {
#pragma GCC unroll 8
          for (int c = 0; c < kColumns; ++c) {
            store<T>(rows.sums + d * kQueryRows + (column + c) * n, sums[c]);
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
  alignas(64) T shrink_[kQueryRows];
};

}  // namespace elastron::ops::cpu
