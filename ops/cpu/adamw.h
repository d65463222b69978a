// CPU back end of ops/adamw.h: plain pointers, everything checked by the caller.
#pragma once
#include "core/dtype.h"
#include "ops/cpu/parallel_for.h"
#include "ops/detail/adamw_math.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cpu {

template <class A>
void adamw_range(A* master, const A* grad, A* m, A* v, int64_t n,
                 const detail::AdamWConstants<A>& constants) {
  const detail::AdamWConstants<A> c = constants;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) detail::adamw_update(master[i], grad[i], m[i], v[i], c);
}

template <class A, class V>
void round_range(const A* master, V* value, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) detail::put(value[i], master[i]);
}

// A: master dtype; V: dtype of the copy the model computes with (A itself when there is none).
template <class A, class V>
void adamw_step(A* master, const A* grad, A* m, A* v, V* value, int64_t n, const AdamWSettings& s,
                int64_t step, double grad_scale) {
  const detail::AdamWConstants<A> constants(s, step, grad_scale);
  parallel_ranges(n, 4, [=](int64_t begin, int64_t end) {
    adamw_range(master + begin, grad + begin, m + begin, v + begin, end - begin, constants);
    if (value != nullptr) round_range(master + begin, value + begin, end - begin);
  });
}

}  // namespace elastron::ops::cpu
