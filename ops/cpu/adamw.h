// CPU back end of ops/adamw.h.
#pragma once
#include <cmath>

#include "core/dtype.h"
#include "ops/adamw.h"
#include "ops/cpu/parallel_for.h"

namespace elastron::ops::cpu {

// A: master dtype; V: dtype of the copy the model computes with (A itself when there is none).
template <class A, class V>
void adamw_step(A* master, const A* grad, A* m, A* v, V* value, int64_t n, const AdamWSettings& s,
                int64_t step, double grad_scale) {
  const A beta1 = A(s.beta1), beta2 = A(s.beta2), eps = A(s.eps);
  const A scale = A(s.maximize ? -grad_scale : grad_scale);
  const A keep = A(1.0 - s.lr * s.weight_decay);
  const A step_size = A(s.lr / (1.0 - std::pow(s.beta1, double(step))));
  const A inv_sqrt_correction = A(1.0 / std::sqrt(1.0 - std::pow(s.beta2, double(step))));
  parallel_ranges(n, 4, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const A g = grad[i] * scale;
      m[i] = beta1 * m[i] + (A(1) - beta1) * g;
      v[i] = beta2 * v[i] + (A(1) - beta2) * g * g;
      const A denominator = std::sqrt(v[i]) * inv_sqrt_correction + eps;
      master[i] = master[i] * keep - step_size * m[i] / denominator;
    }
    if (value != nullptr) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) value[i] = V(accumulator_t<V>(master[i]));
    }
  });
}

}  // namespace elastron::ops::cpu
