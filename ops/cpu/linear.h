// The products of linear layers on the CPU, where what is stored, what comes in and what is
// multiplied may be of three dtypes (ops/linear.h). Shapes are those of ops/cpu/matmul.h.
#pragma once
#include "core/weight_scale.h"
#include "ops/cpu/matmul.h"
#include "ops/linear.h"

namespace elastron::ops {

struct LinearWeight::Packed {
  cpu::PackedWeight forward, dgrad;
  cpu::PackedWeight& of(cpu::Product p) { return p == cpu::Product::forward ? forward : dgrad; }
};

}  // namespace elastron::ops

namespace elastron::ops::cpu {

struct WeightView {
  const Tensor& values;
  const WeightScale& scale;
  PackedWeight* packed;  // null: none is kept
};
// For forward or dgrad.
inline WeightView view_of(const LinearWeight& w, Product product) {
  return {w.tensor(), w.scale(), w.packed() ? &w.packed()->of(product) : nullptr};
}

// The dtype that activations of `dtype` are multiplied in.
DType product_dtype(DType dtype, Device& device);

// On a meta device: takes the memory that a product with activations of that dtype would pack the
// weight in, if it has not been.
void plan_packing(const LinearWeight& w, Product product, DType activations);

void linear_forward(const Tensor& x, const WeightView& w, const Tensor& bias, Tensor& y);
void linear_dgrad(const Tensor& dy, const WeightView& w, bool accumulate, Tensor& dx);
void linear_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw);

}  // namespace elastron::ops::cpu
