// CPU back end of ops/embedding.h: plain pointers, everything checked by the caller.
#pragma once
#include <cstring>

#include "core/dtype.h"
#include "ops/cpu/column_sums.h"
#include "ops/cpu/dequantise.h"
#include "ops/cpu/parallel_for.h"

namespace elastron::ops::cpu {

// fill(row of the table, row of y) for each token; zeros for what is another rank's.
template <class T, class F>
void embedding_rows(const int32_t* ids, T* y, int64_t tokens, int64_t rows, int64_t hidden,
                    int64_t first_row, const F& fill) {
  parallel_rows(tokens, hidden, [=](int64_t t) {
    const int64_t row = int64_t(ids[t]) - first_row;
    T* yr = y + t * hidden;
    if (row < 0 || row >= rows) {
      std::memset(static_cast<void*>(yr), 0, size_t(hidden) * sizeof(T));
    } else {
      fill(row, yr);
    }
  });
}

template <class T>
void embedding_forward(const int32_t* ids, const T* table, T* y, int64_t tokens, int64_t rows,
                       int64_t hidden, int64_t first_row) {
  embedding_rows(ids, y, tokens, rows, hidden, first_row, [=](int64_t row, T* yr) {
    std::memcpy(static_cast<void*>(yr), table + row * hidden, size_t(hidden) * sizeof(T));
  });
}

// Of a quantised table.
template <class T>
void embedding_forward(const int32_t* ids, const e4m3* table, const detail::ScaleView& scale, T* y,
                       int64_t tokens, int64_t rows, int64_t hidden, int64_t first_row) {
  embedding_rows(ids, y, tokens, rows, hidden, first_row, [=](int64_t row, T* yr) {
    dequantise_row(table + row * hidden, scale, row, 0, hidden, yr);
  });
}

// Threads own columns, so every row's additions happen in the order of the tokens.
template <class T>
void embedding_backward(const T* dy, const int32_t* ids, accumulator_t<T>* dtable, int64_t tokens,
                        int64_t rows, int64_t hidden, int64_t first_row) {
  parallel_ranges(hidden, tokens, [=](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t row = int64_t(ids[t]) - first_row;
      if (row < 0 || row >= rows) continue;
      add_row(dy + t * hidden + begin, dtable + row * hidden + begin, end - begin);
    }
  });
}

}  // namespace elastron::ops::cpu
