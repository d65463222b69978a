// The hard-concrete gate per (sequence, kv head). Shared by every back end.
#pragma once
#include "core/host_device.h"
#include "ops/detail/gate_math.h"
#include "ops/hard_concrete.h"

namespace elastron::ops::detail {

template <class A>
struct HardConcreteNumbers {
  A beta, gamma, zeta, threshold;

  static HardConcreteNumbers of(const HardConcrete& rule) {
    return {A(rule.beta), A(rule.gamma), A(rule.zeta), A(rule.threshold())};
  }
};

// v of x.
template <class A>
ELASTRON_HD inline A hard_concrete_value(A x, const HardConcreteNumbers<A>& n) {
  const A v = n.gamma + (n.zeta - n.gamma) * gate_sigmoid(x / n.beta);
  return v < A(0) ? A(0) : v > A(1) ? A(1) : v;
}

// dv / dx at v.
template <class A>
ELASTRON_HD inline A hard_concrete_slope(A v, const HardConcreteNumbers<A>& n) {
  if (!(v > A(0) && v < A(1))) return A(0);
  const A width = n.zeta - n.gamma, s = (v - n.gamma) / width;
  return width * s * (A(1) - s) / n.beta;
}

}  // namespace elastron::ops::detail
