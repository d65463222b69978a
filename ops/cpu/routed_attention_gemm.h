// The one matrix product of the attention kernels: C[r, :] = sum_k a(r, k) b[k, :], where rows of b
// and C lie along the registers' lanes and a is read element by element and broadcast. Sums run
// over k in order, for every shape and every remainder: results do not depend on the tiling.
#pragma once
#include <algorithm>

#include "ops/cpu/simd.h"

namespace elastron::ops::cpu {

// a(r, k) = data[r * row + k * depth]
template <class T>
struct BroadcastOperand {
  const T* data;
  int64_t row, depth;
};

// start(r, c) gives the first value of the sums of row r, register column c; done(r, c, sums) takes
// the `columns` registers of row r from column c on.
template <int kRows, int kColumns, class T, class Start, class Done>
[[gnu::always_inline]] inline void multiply_block(const BroadcastOperand<T>& a, const T* b,
                                                  int64_t b_stride, int64_t depth, int64_t row,
                                                  int column, const Start& start, Done& done) {
  constexpr int n = kLanes<T>;
  vec<T> sums[kRows][kColumns];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) sums[r][c] = start(row + r, column + c);
  }
  const T* pa = a.data + row * a.row;
  const T* pb = b + column * n;
  for (int64_t k = 0; k < depth; ++k, pa += a.depth, pb += b_stride) {
    vec<T> columns[kColumns];
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) columns[c] = load<T>(pb + c * n);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const vec<T> x = broadcast<T>(pa[r * a.row]);
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) sums[r][c] = multiply_add<T>(x, columns[c], sums[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) done(row + r, column, sums[r]);
}

template <int kColumns, class T, class Start, class Done>
[[gnu::always_inline]] inline void multiply_columns(const BroadcastOperand<T>& a, const T* b,
                                                    int64_t b_stride, int64_t rows, int64_t depth,
                                                    int column, const Start& start, Done& done) {
  int64_t r = 0;
  for (; r + kMicroRows <= rows; r += kMicroRows) {
    multiply_block<kMicroRows, kColumns, T>(a, b, b_stride, depth, r, column, start, done);
  }
  const int64_t left = rows - r;
  if constexpr (kMicroRows > 4) {
    if (left == 5) multiply_block<5, kColumns, T>(a, b, b_stride, depth, r, column, start, done);
    if (left == 4) multiply_block<4, kColumns, T>(a, b, b_stride, depth, r, column, start, done);
  }
  if (left == 3) multiply_block<3, kColumns, T>(a, b, b_stride, depth, r, column, start, done);
  if (left == 2) multiply_block<2, kColumns, T>(a, b, b_stride, depth, r, column, start, done);
  if (left == 1) multiply_block<1, kColumns, T>(a, b, b_stride, depth, r, column, start, done);
}

// `columns` counts registers.
template <class T, class Start, class Done>
inline void multiply(const BroadcastOperand<T>& a, const T* b, int64_t b_stride, int64_t rows,
                     int columns, int64_t depth, const Start& start, Done done) {
  int c = 0;
  for (; c + kMicroColumns <= columns; c += kMicroColumns) {
    multiply_columns<kMicroColumns, T>(a, b, b_stride, rows, depth, c, start, done);
  }
  const int left = columns - c;
  if constexpr (kMicroColumns > 2) {
    if (left == 3) multiply_columns<3, T>(a, b, b_stride, rows, depth, c, start, done);
    if (left == 2) multiply_columns<2, T>(a, b, b_stride, rows, depth, c, start, done);
  }
  if (left == 1) multiply_columns<1, T>(a, b, b_stride, rows, depth, c, start, done);
}

}  // namespace elastron::ops::cpu
