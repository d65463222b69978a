// The two products of an attention tile in tile registers (ops/cpu/amx.h), for bfloat16. Lanes are
// queries, as in the loops that stand for them elsewhere; operands of B have the numbers of a pair
// of channels, or of keys, side by side. Probabilities are split into two numbers of bfloat16, so that
// they have 16 bits and the output is as exact as of products in float32.
#pragma once
#include "ops/attention/tile_plan.h"
#include "ops/cpu/amx.h"

namespace elastron::ops::cpu {

#if defined(ELASTRON_AMX)

// A thread's scratch for one tile, in `bytes()` of a head dimension.
struct AmxAttentionSpace {
  static constexpr int kKeys = 128;
  bf16 *keys, *low, *values;

  // [keys, head_dim], keys that must be read beyond the last; [keys / 2, queries, 2], the second
  // halves of probabilities; [head_dim, keys], values.
  AmxAttentionSpace(void* memory, int64_t head_dim)
      : keys(static_cast<bf16*>(memory)),
        low(keys + kKeys * head_dim),
        values(low + kKeys * kTileRows) {}
  static int64_t bytes(int64_t head_dim) {
    return int64_t(sizeof(bf16)) * kKeys * (2 * head_dim + kTileRows);
  }
};

// Squares of 32-bit words: transpose() moves lanes, whatever they are.
using WordLanes = vec<float>;

// to[channel / 2][query][channel % 2] = row(query)[channel], rows up to whole registers.
template <class Row>
inline void amx_pack_queries(Row row, int64_t rows, int64_t head_dim, bf16* to) {
  for (int64_t r = 0; r < rows; r += 16) {
    for (int64_t d = 0; d < head_dim; d += 32) {
      WordLanes block[16];
      for (int64_t i = 0; i < 16; ++i) {
        std::memcpy(&block[i], row(std::min(r + i, rows - 1)) + d, sizeof block[i]);
      }
      transpose<float>(block);
      for (int64_t i = 0; i < 16; ++i) {
        _mm512_storeu_ps(to + ((d / 2 + i) * kTileRows + r) * 2, __m512(block[i]));
      }
    }
  }
}

// to[channel][key] = row `key` of `count`; zero up to a multiple of 32 keys.
inline void amx_transpose_values(const bf16* rows, int64_t stride, int64_t count, int64_t head_dim,
                                 bf16* to) {
  for (int64_t key = 0; key < count; key += 32) {
    for (int64_t d = 0; d < head_dim; d += 32) {
      WordLanes lower[16], upper[16];
#pragma GCC unroll 16
      for (int64_t i = 0; i < 16; ++i) {
        const auto values = [&](int64_t k) {
          return k < count ? _mm512_loadu_si512(rows + k * stride + d) : _mm512_setzero_si512();
        };
        const __m512i even = values(key + 2 * i), odd = values(key + 2 * i + 1);
        lower[i] = reinterpret_cast<WordLanes>(_mm512_unpacklo_epi16(even, odd));
        upper[i] = reinterpret_cast<WordLanes>(_mm512_unpackhi_epi16(even, odd));
      }
      transpose<float>(lower);
      transpose<float>(upper);
      // Unpacking takes four channels of every eight.
#pragma GCC unroll 16
      for (int64_t i = 0; i < 16; ++i) {
        bf16* channel = to + (d + i / 4 * 8 + i % 4) * AmxAttentionSpace::kKeys + key;
        _mm512_storeu_ps(channel, __m512(lower[i]));
        _mm512_storeu_ps(channel + 4 * AmxAttentionSpace::kKeys, __m512(upper[i]));
      }
    }
  }
}

// Of probabilities of two keys, a lane per query: the pairs [query][2] of their first bfloat16 and
// of what that leaves.
[[gnu::always_inline]] inline void amx_split(vec<float> even, vec<float> odd, bf16* high,
                                             bf16* low) {
  const auto pairs = [](vec<float> a, vec<float> b) {
    // Rounded to nearest; b's 16 numbers lie behind a's.
    const __m512i both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(__m512(b), __m512(a)));
    constexpr auto lane = [](int i) { return short(i / 2 + i % 2 * 16); };
    const __m512i side_by_side = _mm512_set_epi16(
        lane(31), lane(30), lane(29), lane(28), lane(27), lane(26), lane(25), lane(24), lane(23),
        lane(22), lane(21), lane(20), lane(19), lane(18), lane(17), lane(16), lane(15), lane(14),
        lane(13), lane(12), lane(11), lane(10), lane(9), lane(8), lane(7), lane(6), lane(5),
        lane(4), lane(3), lane(2), lane(1), lane(0));
    return _mm512_permutexvar_epi16(side_by_side, both);
  };
  const __m512i first = pairs(even, odd);
  const auto even_part = vec<float>(_mm512_castsi512_ps(_mm512_slli_epi32(first, 16)));
  const auto odd_part =
      vec<float>(_mm512_castsi512_ps(_mm512_and_si512(first, _mm512_set1_epi32(int(0xffff0000)))));
  const __m512i rest = pairs(even - even_part, odd - odd_part);
  _mm512_storeu_si512(high, first);
  _mm512_storeu_si512(low, rest);
}

#endif

// Whether the products of heads of this dimension are in tile registers.
inline bool amx_fits(int64_t head_dim) { return head_dim % 32 == 0 && has_amx(); }

}  // namespace elastron::ops::cpu
