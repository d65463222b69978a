// CPU back end of ops/attention_argmax.h: plain pointers, everything checked by the caller.
#pragma once
#include <limits>

#include "core/dtype.h"
#include "ops/attention_argmax.h"

namespace elastron::ops::cpu {

template <class T>
accumulator_t<T> dot_row(const T* a, const T* b, int64_t n) {
  using A = accumulator_t<T>;
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += A(a[i]) * A(b[i]);
  return sum;
}

// q [head_dim]; k: of its kv head, rows `stride` numbers apart. -> token
template <class T>
int32_t strongest_key(const T* q, const T* k, int64_t stride, int64_t head_dim, QueryRow row) {
  using A = accumulator_t<T>;
  int32_t best = row.first_key;
  A most = -std::numeric_limits<A>::infinity();
  for (int32_t j = row.first_key; j <= row.query; ++j) {
    const A score = dot_row(q, k + j * stride, head_dim);
    if (score > most) {
      most = score;
      best = j;
    }
  }
  return best;
}

}  // namespace elastron::ops::cpu
