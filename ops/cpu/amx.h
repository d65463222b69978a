// Tile registers of x86 (AMX): products of bfloat16 with sums in float32. Compiled where the build's
// target has them, used where the system lets the process have them too.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "ops/cpu/simd.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512BW__)
#define ELASTRON_AMX 1
#include <immintrin.h>
#endif

namespace elastron::ops::cpu {

#if defined(ELASTRON_AMX)

// Whether this process may use them. Asks the system once.
bool has_amx();

// This thread's tile registers: eight of 16 rows of 64 bytes. oneDNN sets them for itself and lets
// go of them in every call, so that a scope must not hold one.
class AmxTiles {
 public:
  AmxTiles();
  ~AmxTiles() { _tile_release(); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
};

// The shape of operands, in tiles. A: rows of bfloat16, `a_stride` apart. B: [depth / 2] rows of
// columns of two numbers each (those of depth 2i and 2i + 1), `columns` of them. C: rows of float32.
struct AmxOperands {
  const bf16* a;
  int64_t a_stride;  // elements
  const bf16* b;
  const bf16* b_rest;  // null, or what b leaves of its numbers: C = A (b + b_rest)
  int64_t b_stride;    // elements of a row of pairs
  float* c;
  int64_t c_stride;  // elements
};

// R x S tiles of C at tile row `row` and tile column `column`: = A B, or += where kAdd.
template <int R, int S, bool kAdd>
[[gnu::always_inline]] inline void amx_block(const AmxOperands& o, int64_t row, int64_t column,
                                             int64_t depth) {
  // Tiles 0 to 3 hold sums, 4 and 5 rows of A, 6 and 7 columns of B.
  const auto c = [&](int r, int s) {
    return o.c + (row + r) * 16 * o.c_stride + (column + s) * 16;
  };
  const auto c_bytes = size_t(o.c_stride) * sizeof(float);
  if constexpr (kAdd) {
    _tile_loadd(0, c(0, 0), c_bytes);
    if constexpr (S > 1) _tile_loadd(1, c(0, 1), c_bytes);
    if constexpr (R > 1) _tile_loadd(2, c(1, 0), c_bytes);
    if constexpr (R > 1 && S > 1) _tile_loadd(3, c(1, 1), c_bytes);
  } else {
    _tile_zero(0);
    if constexpr (S > 1) _tile_zero(1);
    if constexpr (R > 1) _tile_zero(2);
    if constexpr (R > 1 && S > 1) _tile_zero(3);
  }
  const auto a_bytes = size_t(o.a_stride) * sizeof(bf16),
             b_bytes = size_t(o.b_stride) * sizeof(bf16);
  for (int64_t k = 0; k < depth; k += 32) {
    const bf16* a = o.a + row * 16 * o.a_stride + k;
    const int64_t place = k / 2 * o.b_stride + column * 32;
    const bf16* b = o.b + place;
    _tile_loadd(4, a, a_bytes);
    _tile_loadd(6, b, b_bytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (S > 1) {
      _tile_loadd(7, b + 32, b_bytes);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (R > 1) {
      _tile_loadd(5, a + 16 * o.a_stride, a_bytes);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (S > 1) _tile_dpbf16ps(3, 5, 7);
    }
    if (o.b_rest == nullptr) continue;
    _tile_loadd(6, o.b_rest + place, b_bytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (R > 1) _tile_dpbf16ps(2, 5, 6);
    if constexpr (S > 1) {
      _tile_loadd(7, o.b_rest + place + 32, b_bytes);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (R > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c(0, 0), c_bytes);
  if constexpr (S > 1) _tile_stored(1, c(0, 1), c_bytes);
  if constexpr (R > 1) _tile_stored(2, c(1, 0), c_bytes);
  if constexpr (R > 1 && S > 1) _tile_stored(3, c(1, 1), c_bytes);
}

// C [16 rows, 16 columns] = or += A [.., depth] B; `depth` a multiple of 32.
template <bool kAdd>
inline void amx_multiply(const AmxOperands& o, int64_t rows, int64_t columns, int64_t depth) {
  const auto block = [&](int64_t r, int64_t s) {
    if (r + 1 < rows) {
      if (s + 1 < columns) return amx_block<2, 2, kAdd>(o, r, s, depth);
      return amx_block<2, 1, kAdd>(o, r, s, depth);
    }
    if (s + 1 < columns) return amx_block<1, 2, kAdd>(o, r, s, depth);
    amx_block<1, 1, kAdd>(o, r, s, depth);
  };
  // One operand is read once and the other again and again: in the order that reads less.
  const int64_t b_columns = o.b_rest == nullptr ? columns : 2 * columns;
  if (rows + b_columns * ((rows + 1) / 2) <= b_columns + rows * ((columns + 1) / 2)) {
    for (int64_t r = 0; r < rows; r += 2) {
      for (int64_t s = 0; s < columns; s += 2) block(r, s);
    }
  } else {
    for (int64_t s = 0; s < columns; s += 2) {
      for (int64_t r = 0; r < rows; r += 2) block(r, s);
    }
  }
}

#else

inline bool has_amx() { return false; }
struct AmxTiles {};

#endif

}  // namespace elastron::ops::cpu
