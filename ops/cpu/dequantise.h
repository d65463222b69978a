// CPU back end of ops/dequantise.h: plain pointers, everything checked by the caller.
#pragma once
#include <algorithm>
#include <bit>

#include "core/float8.h"
#include "ops/cpu/elementwise.h"
#include "ops/detail/scale_view.h"

namespace elastron::ops::cpu {

// e4m3's own conversion without branches, for vectors. Not for NaN, which no stored weight holds.
inline float finite_value(e4m3 x) {
  const uint32_t magnitude = x.bits & 0x7fu;
  const float normal = std::bit_cast<float>((magnitude << 20) + (120u << 23));
  // Below 2^-6 there is no hidden bit: 2^-7 + m 2^-10 stands for m 2^-9.
  const float value = magnitude < 8 ? 2 * normal - 0x1p-6f : normal;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | uint32_t(x.bits & 0x80u) << 24);
}

template <class To>
void dequantise_range(const e4m3* x, float by, To* y, int64_t n) {
  using A = accumulator_t<To>;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) detail::put(y[i], A(finite_value(x[i])) * A(by));
}

// Columns [c0, c1) of row r, of which `row` is the first value, to `to`.
template <class To>
void dequantise_row(const e4m3* row, const detail::ScaleView& scale, int64_t r, int64_t c0,
                    int64_t c1, To* to) {
  const float* of_row = scale.row(r);
  for (int64_t c = c0; c < c1;) {
    const int64_t end = std::min(scale.end_of(c), c1);
    dequantise_range(row + c, of_row[scale.block_of(c)], to + (c - c0), end - c);
    c = end;
  }
}

// [rows, columns], of which stored rows lie `stride` apart.
template <class To>
void dequantise(const e4m3* values, int64_t stride, const detail::ScaleView& scale, int64_t rows,
                int64_t columns, To* to) {
  parallel_rows(rows, columns, [=](int64_t r) {
    dequantise_row(values + r * stride, scale, r, 0, columns, to + r * columns);
  });
}

}  // namespace elastron::ops::cpu
