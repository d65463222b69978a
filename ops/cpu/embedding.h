// CPU back end of ops/embedding.h: plain pointers, everything checked by the caller.
#pragma once
#include <cstring>

#include "core/dtype.h"
#include "ops/cpu/column_sums.h"
#include "ops/cpu/parallel_for.h"

namespace elastron::ops::cpu {

template <class T>
void embedding_forward(const int32_t* ids, const T* table, T* y, int64_t tokens, int64_t rows,
                       int64_t hidden, int64_t first_row) {
  parallel_rows(tokens, hidden, [=](int64_t t) {
    const int64_t row = int64_t(ids[t]) - first_row;
    T* yr = y + t * hidden;
    if (row < 0 || row >= rows) {
      std::memset(static_cast<void*>(yr), 0, size_t(hidden) * sizeof(T));
    } else {
      std::memcpy(static_cast<void*>(yr), table + row * hidden, size_t(hidden) * sizeof(T));
    }
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
