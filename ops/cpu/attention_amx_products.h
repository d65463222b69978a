// The same products of bfloat16 in tile registers (ops/cpu/amx.h).
#pragma once
#include <numbers>

#include "ops/attention/args.h"
#include "ops/cpu/attention_query_rows.h"
#include "ops/cpu/routed_attention_amx.h"

namespace elastron::ops::cpu {

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
        space_(scores_ + kKeysAtOnce * kQueryRows, args.shape.head_dim),
        factor_(float(args.scale * std::numbers::log2e)),
        dim_(args.shape.head_dim) {}
  static int64_t elements(int64_t head_dim) {
    return kKeysAtOnce * kQueryRows + AmxAttentionSpace::bytes(head_dim) / int64_t(sizeof(float));
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
                         2 * kQueryRows, scores_, kQueryRows},
                        (count + 15) / 16, rows.registers, dim_);
    for (int c = 0; c < rows.registers; ++c) {
      const vec<float> shrink = soften<kMask>(rows, key, count, c);
      if (_mm512_cmpneq_ps_mask(__m512(shrink), _mm512_set1_ps(1)) == 0) continue;
      for (int64_t d = 0; d < dim_; ++d) {
        float* at = rows.sums + d * kQueryRows + c * n;
        store<float>(at, load<float>(at) * shrink);
      }
    }
    amx_multiply<true>({space_.values, kKeysAtOnce, reinterpret_cast<const bf16*>(scores_),
                        space_.low, 2 * kQueryRows, rows.sums, kQueryRows},
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
      vec<float> score = load<float>(scores + r * kQueryRows);
      if constexpr (kMask != KeyMask::none) {
        score = rows.visible<kMask>(key + r, c)
                    ? score
                    : broadcast<float>(-std::numeric_limits<float>::infinity());
        store<float>(scores + r * kQueryRows, score);
      }
      largest = larger<float>(largest, score);
    }
    largest = largest * factor;
    // Not <=, so that NaN stays.
    const vec<float> top = before + kRoom >= largest ? before : largest;
    const auto probability = [&](int64_t r) {
      return exp2_lanes<float>(
          multiply_add<float>(load<float>(scores + r * kQueryRows), factor, -top));
    };
    const vec<float> none{};
    vec<float> total = none;
    auto* const high = reinterpret_cast<bf16*>(scores_);
    int64_t r = 0;
    const auto pair = [&](vec<float> even, vec<float> odd) {
      total += even + odd;
      const int64_t at = r * kQueryRows + c * 2 * n;
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

}  // namespace elastron::ops::cpu
