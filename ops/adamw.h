// AdamW with decoupled weight decay (Loshchilov and Hutter, 2019), as torch.optim.AdamW.
#pragma once
#include "core/tensor.h"

namespace elastron::ops {

struct AdamWSettings {
  double lr = 0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  bool maximize = false;  // ascend: the gradient's sign is flipped, decay is not
};

// One update, in place; `step` counts from 1. master, grad, exp_avg, exp_avg_sq: same shape, master
// dtype. The gradient is multiplied by grad_scale (clipping) on the fly. With `value` defined in
// another dtype, it receives the updated master rounded to it.
void adamw_step(Tensor& master, const Tensor& grad, Tensor& exp_avg, Tensor& exp_avg_sq,
                Tensor* value, const AdamWSettings& settings, int64_t step, double grad_scale);

}  // namespace elastron::ops
