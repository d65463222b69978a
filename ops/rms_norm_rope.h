// RMSNorm of each head and RoPE in one pass over memory: what Qwen3 does to its queries
// (ops/rms_norm.h, ops/rope.h). The normalised heads are rounded to the tensor's dtype before they
// are turned, as in the two ops apart.
#pragma once
#include "core/tensor.h"
#include "ops/rms_norm.h"

namespace elastron::ops {

// x [tokens, heads, head_dim] contiguous, w [head_dim]; positions [tokens] int32, table as
// rope_apply() takes them. -> y as x, inv_rms [tokens * heads].
RmsNormOutput rms_norm_rope_forward(const Tensor& x, const Tensor& w, double eps,
                                    const Tensor& positions, const Tensor& table);

// dy to y -> dx. dy may be overwritten. With dw defined ([head_dim] master dtype) the weight's
// gradient is added to it.
Tensor rms_norm_rope_backward(Tensor& dy, const Tensor& x, const Tensor& w, const Tensor& inv_rms,
                              const Tensor& positions, const Tensor& table, Tensor* dw);

}  // namespace elastron::ops
