// CPU back end of ops/rope.h.
#pragma once
#include "core/dtype.h"
#include "ops/cpu/parallel_for.h"

namespace elastron::ops::cpu {

template <class T>
void rope_apply(T* x, int64_t token_stride, const int32_t* positions, const accumulator_t<T>* table,
                int64_t tokens, int64_t heads, int64_t head_dim, bool inverse) {
  using A = accumulator_t<T>;
  const int64_t half = head_dim / 2;
  const A sign = inverse ? A(-1) : A(1);
  parallel_rows(tokens, heads * head_dim, [=](int64_t t) {
    const A* cosine = table + int64_t(positions[t]) * head_dim;
    const A* sine = cosine + half;
    for (int64_t h = 0; h < heads; ++h) {
      T* first = x + t * token_stride + h * head_dim;
      T* second = first + half;
#pragma omp simd
      for (int64_t i = 0; i < half; ++i) {
        const A a = A(first[i]), b = A(second[i]), s = sign * sine[i];
        first[i] = T(a * cosine[i] - b * s);
        second[i] = T(b * cosine[i] + a * s);
      }
    }
  });
}

}  // namespace elastron::ops::cpu
