// RMSNorm over the last dim: y = x / sqrt(mean(x^2) + eps) * w (Zhang and Sennrich, 2019), as in
// Qwen3: statistics in float32 (float64 for float64), the normalised value is rounded to the
// tensor's dtype before the weight is applied.
#pragma once
#include "core/tensor.h"

namespace elastron::ops {

struct RmsNormOutput {
  Tensor y;        // as x
  Tensor inv_rms;  // [rows] master dtype: 1 / sqrt(mean(x^2) + eps), saved for backward
};

// x [..., n], w [n]; one dtype. rows = numel / n.
RmsNormOutput rms_norm_forward(const Tensor& x, const Tensor& w, double eps);

// dy, x [..., n], w [n], inv_rms [rows] -> dx. With `accumulate_into` defined (shape of x) dx is
// added to it, and it is returned: the residual path's gradient. With dw defined ([n] master
// dtype) the weight's gradient is added to it.
Tensor rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& w, const Tensor& inv_rms,
                         const Tensor& accumulate_into, Tensor* dw);

}  // namespace elastron::ops
