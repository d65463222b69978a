// Per-document formulas of the sparsity objective (docs/method.md, Objective).
#pragma once
#include "core/host_device.h"

namespace elastron::ops::detail {

struct ObjectiveTerm {
  double reg, d_reg;   // and its derivative with respect to MSR
  double linear, gap;  // lambda1 is multiplied by the one, lambda2 by the other's square
};

ELASTRON_HD inline ObjectiveTerm objective_term(double msr, double target, double lambda1,
                                                double lambda2, bool multipliers, bool absolute) {
  const double gap = msr - target;
  const double size = gap < 0 ? -gap : gap;
  const double sign = gap > 0 ? 1.0 : (gap < 0 ? -1.0 : 0.0);
  if (!multipliers) return {size, sign, 0, gap};
  const double f = absolute ? size : gap;
  const double slope = absolute ? sign : 1.0;
  return {lambda1 * f + lambda2 * gap * gap, lambda1 * slope + 2.0 * lambda2 * gap, f, gap};
}

}  // namespace elastron::ops::detail
