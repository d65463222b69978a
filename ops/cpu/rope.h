// CPU back end of ops/rope.h: plain pointers, everything checked by the caller.
#pragma once
#include "core/dtype.h"
#include "ops/cpu/parallel_for.h"
#include "ops/detail/rope_math.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cpu {

// One head of one token: x [2 half] in place, cosine and sine [half]. `sign` -1 turns back.
template <class T>
void rope_row(T* x, const accumulator_t<T>* cosine, const accumulator_t<T>* sine,
              accumulator_t<T> sign, int64_t half) {
  using A = accumulator_t<T>;
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const auto [a, b] = detail::rotate(A(x[i]), A(x[i + half]), cosine[i], sign * sine[i]);
    detail::put(x[i], a);
    detail::put(x[i + half], b);
  }
}

template <class T>
void rope_apply(T* x, int64_t token_stride, const int32_t* positions, const accumulator_t<T>* table,
                int64_t tokens, int64_t heads, int64_t head_dim, bool transposed) {
  using A = accumulator_t<T>;
  const int64_t half = head_dim / 2;
  const A sign = transposed ? A(-1) : A(1);
  parallel_rows(tokens, heads * head_dim, [=](int64_t t) {
    const A* cosine = table + int64_t(positions[t]) * head_dim;
    T* heads_of_token = x + t * token_stride;
    for (int64_t h = 0; h < heads; ++h) {
      rope_row(heads_of_token + h * head_dim, cosine, cosine + half, sign, half);
    }
  });
}

}  // namespace elastron::ops::cpu
