// Per-element formulas of RMSNorm, r = 1 / sqrt(mean(x^2) + eps).
//
//   y  = round(x r) w
//   dx = r (dy w - x m),  m = r^2 mean(dy w x)
//   dw = sum over rows of dy x r
#pragma once
#include "core/host_device.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::detail {

// The normalised value is rounded to the tensor's type T before the weight is applied, as in the
// Hugging Face implementation.
template <class T, class A>
ELASTRON_HD inline A rms_norm(A x, A r, A w) {
  return rounded<T>(x * r) * w;
}

template <class A>
ELASTRON_HD inline A rms_norm_derivative(A dy, A x, A w, A r, A m) {
  return r * (dy * w - x * m);
}

}  // namespace elastron::ops::detail
