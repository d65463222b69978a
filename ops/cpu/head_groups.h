// CPU back ends of ops/head_groups.h: plain pointers, everything checked by the caller. A row is a
// group of a document: `each` heads of `width` numbers.
#pragma once
#include <cstdint>

#include "ops/cpu/parallel_for.h"

namespace elastron::ops::cpu {

template <class A>
void sum_heads(const A* x, int64_t rows, int64_t each, int64_t width, A scale, A* sum) {
  parallel_rows(rows, each * width, [&](int64_t r) {
    const A* of = x + r * each * width;
    for (int64_t i = 0; i < width; ++i) {
      A total = 0;
      for (int64_t h = 0; h < each; ++h) total += of[h * width + i];
      sum[r * width + i] = scale * total;
    }
  });
}

template <class A>
void spread_over_heads(const A* x, int64_t rows, int64_t each, int64_t width, A scale, A* spread) {
  parallel_rows(rows, each * width, [&](int64_t r) {
    for (int64_t h = 0; h < each; ++h) {
      for (int64_t i = 0; i < width; ++i) {
        spread[(r * each + h) * width + i] = A(scale * x[r * width + i]);
      }
    }
  });
}

}  // namespace elastron::ops::cpu
