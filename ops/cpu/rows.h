// CPU back ends of ops/rows.h: plain pointers, everything checked by the caller.
#pragma once
#include <cstring>
#include <vector>

#include "ops/cpu/column_sums.h"
#include "ops/cpu/elementwise.h"
#include "ops/cpu/parallel_for.h"
#include "ops/row_pieces.h"

namespace elastron::ops::cpu {

// Rows that follow one another here and there are one copy: indices are mostly long runs. Where
// they lie apart, the pieces of a row are taken together, as they often are neighbours.
inline void copy_run(const RowPieces& p, size_t item, int64_t from, int64_t to, int64_t rows) {
  const bool dense = p.from_stride == p.width && p.to_stride == p.width;
  const int64_t each = dense ? rows : 1;  // rows of a copy
  const size_t bytes = size_t(each * p.width) * item;
  for (int64_t i = 0; i < rows; i += each) {
    const size_t source = size_t((from + i) * p.from_stride) * item;
    const size_t place = size_t((to + i) * p.to_stride) * item;
    for (size_t piece = 0; piece < size_t(p.count); ++piece) {
      std::memcpy(static_cast<char*>(p.to[piece]) + place,
                  static_cast<const char*>(p.from[piece]) + source, bytes);
    }
  }
}

inline void zero_row(const RowPieces& p, size_t item, int64_t to) {
  for (size_t piece = 0; piece < size_t(p.count); ++piece) {
    std::memset(static_cast<char*>(p.to[piece]) + size_t(to * p.to_stride) * item, 0,
                size_t(p.width) * item);
  }
}

// index: of the rows that are read, or null for row i.
inline void gather_rows(const RowPieces& p, const int32_t* index, int64_t n, size_t item) {
  parallel_ranges(n, p.width * p.count, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin, next = 0; i < end; i = next) {
      next = i + 1;
      const int64_t first = index == nullptr ? i : index[i];
      while (next < end && (index == nullptr || (first >= 0 && index[next] == first + next - i))) {
        ++next;
      }
      if (first < 0) {
        zero_row(p, item, i);
      } else {
        copy_run(p, item, first, i, next - i);
      }
    }
  });
}

inline void scatter_rows(const RowPieces& p, const int32_t* index, int64_t n, size_t item) {
  parallel_ranges(n, p.width, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (index[i] >= 0) copy_run(p, item, i, index[i], 1);
    }
  });
}

template <class T>
void add_rows(const T* x, const int32_t* index, T* y, int64_t n, int64_t width) {
  parallel_ranges(n, width, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (index[i] < 0) continue;
      T* row = y + index[i] * width;
      sum_range(row, x + i * width, row, width);
    }
  });
}

// sum = x, [n]
template <class T>
void set_row(const T* x, accumulator_t<T>* sum, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sum[i] = accumulator_t<T>(x[i]);
}

template <class T>
void sum_rows(const RowPieces& p, const int32_t* bounds, const int32_t* rows, int64_t n) {
  using A = accumulator_t<T>;
  parallel_ranges(n, p.width * p.count, [=](int64_t begin, int64_t end) {
    std::vector<A> sum(static_cast<size_t>(p.width));
    const auto terms = [=](int64_t i) { return bounds[i + 1] - bounds[i]; };
    for (int64_t i = begin, next = 0; i < end; i = next) {
      next = i + 1;
      const int64_t count = terms(i), first = count > 0 ? rows[bounds[i]] : -1;
      while (count == 1 && next < end && terms(next) == 1 &&
             rows[bounds[next]] == first + next - i) {
        ++next;
      }
      if (count == 0) {
        zero_row(p, sizeof(T), i);
      } else if (count == 1) {
        copy_run(p, sizeof(T), first, i, next - i);
      } else {
        for (size_t piece = 0; piece < size_t(p.count); ++piece) {
          const T* from = static_cast<const T*>(p.from[piece]);
          set_row(from + first * p.from_stride, sum.data(), p.width);
          for (int32_t j = bounds[i] + 1; j < bounds[i + 1]; ++j) {
            add_row(from + rows[j] * p.from_stride, sum.data(), p.width);
          }
          cast_range(sum.data(), static_cast<T*>(p.to[piece]) + i * p.to_stride, p.width);
        }
      }
    }
  });
}

}  // namespace elastron::ops::cpu
