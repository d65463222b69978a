// Small elementwise ops and reductions.
#pragma once
#include <span>

#include "core/tensor.h"

namespace elastron::ops {

Tensor add(const Tensor& a, const Tensor& b);  // a + b, same shape and dtype
void add_into(Tensor& a, const Tensor& b);     // a += b, same shape and dtype
void scale_into(Tensor& a, double factor);     // a *= factor
// a = the nearest number to a in [low, high]
void clamp_into(Tensor& a, double low, double high);
Tensor cast(const Tensor& x, DType dtype);   // rounds to nearest even; always a copy
void cast_into(const Tensor& x, Tensor& y);  // y = x in y's dtype
// sum [m] = sum over r of parts [n, m], in the order of r, in float32 (float64 for float64);
// rounded once.
void sum_parts(const Tensor& parts, Tensor& sum);
Tensor silu_forward(const Tensor& x);
Tensor silu_backward(const Tensor& dy, const Tensor& x);

// Sum of squares in double, in a fixed order that does not depend on the thread count: of each
// tensor, then over the tensors in their order. One dtype and device; the device is read once.
double sum_of_squares(std::span<const Tensor> tensors);
double sum_of_squares(const Tensor& x);
// [1] from x [n], both float64: in order on the CPU, in an order fixed by n on a GPU.
Tensor sum(const Tensor& x);
bool all_finite(const Tensor& x);

}  // namespace elastron::ops
