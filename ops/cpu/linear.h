// The products of linear layers on the CPU, where what is stored, what comes in and what is
// multiplied may be of three dtypes (ops/linear.h). Shapes are those of ops/cpu/matmul.h.
#pragma once
#include "core/weight_scale.h"
#include "ops/cpu/matmul.h"

namespace elastron::ops::cpu {

struct WeightView {
  const Tensor& values;
  const WeightScale& scale;
  PackedWeight* packed;  // null: none is kept
};

// The dtype that activations of `dtype` are multiplied in.
DType product_dtype(DType dtype, Device& device);

void linear_forward(const Tensor& x, const WeightView& w, const Tensor& bias, Tensor& y);
void linear_dgrad(const Tensor& dy, const WeightView& w, bool accumulate, Tensor& dx);
void linear_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw);

}  // namespace elastron::ops::cpu
