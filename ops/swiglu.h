// SwiGLU: h = silu(gate) * up (Shazeer, 2020).
#pragma once
#include "core/tensor.h"

namespace elastron::ops {

// gate, up [tokens, n] -> [tokens, n].
Tensor swiglu_forward(const Tensor& gate, const Tensor& up);

struct SwigluGradient {
  Tensor gate, up;
};
// dh, gate, up [tokens, n]. May write the results over `gate` and `up` when `in_place`.
SwigluGradient swiglu_backward(const Tensor& dh, const Tensor& gate, const Tensor& up,
                               bool in_place);

}  // namespace elastron::ops
