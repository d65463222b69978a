// One element's AdamW update (Loshchilov and Hutter, 2019), in torch.optim.AdamW's order.
#pragma once
#include <cmath>

#include "core/host_device.h"
#include "ops/adamw.h"

namespace elastron::ops::detail {

// Constants of a step, the same for all elements; computed in double, used in the master dtype A.
template <class A>
struct AdamWConstants {
  A beta1, beta2, one_minus_beta1, one_minus_beta2, eps, gradient_scale, keep, step_size,
      inv_sqrt_correction2;

  AdamWConstants(const AdamWSettings& s, int64_t step, double grad_scale)
      : beta1(A(s.beta1)),
        beta2(A(s.beta2)),
        one_minus_beta1(A(1.0 - s.beta1)),
        one_minus_beta2(A(1.0 - s.beta2)),
        eps(A(s.eps)),
        gradient_scale(A(s.maximize ? -grad_scale : grad_scale)),
        keep(A(1.0 - s.lr * s.weight_decay)),
        step_size(A(s.lr / (1.0 - std::pow(s.beta1, double(step))))),
        inv_sqrt_correction2(A(1.0 / std::sqrt(1.0 - std::pow(s.beta2, double(step))))) {}
};

template <class A>
ELASTRON_HD inline void adamw_update(A& p, A grad, A& m, A& v, const AdamWConstants<A>& c) {
  const A g = grad * c.gradient_scale;
  m = c.beta1 * m + c.one_minus_beta1 * g;
  v = c.beta2 * v + c.one_minus_beta2 * g * g;
  p = p * c.keep - c.step_size * m / (std::sqrt(v) * c.inv_sqrt_correction2 + c.eps);
}

}  // namespace elastron::ops::detail
