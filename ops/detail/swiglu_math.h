// Per-element formulas of SiLU and SwiGLU.
#pragma once
#include "core/host_device.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::detail {

template <class A>
ELASTRON_HD inline A silu(A x) {
  return x * sigmoid(x);
}

// SiLU'(x) = s + x s (1 - s), s = sigmoid(x)
template <class A>
ELASTRON_HD inline A silu_derivative(A x) {
  const A s = sigmoid(x);
  return s * (A(1) + x * (A(1) - s));
}

template <class A>
ELASTRON_HD inline A swiglu(A gate, A up) {
  return silu(gate) * up;
}

template <class A>
struct GateUp {
  A gate, up;
};

template <class A>
ELASTRON_HD inline GateUp<A> swiglu_derivative(A dh, A gate, A up) {
  const A s = sigmoid(gate);
  return {dh * up * s * (A(1) + gate * (A(1) - s)), dh * gate * s};
}

}  // namespace elastron::ops::detail
