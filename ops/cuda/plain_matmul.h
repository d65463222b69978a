// Matrix products on the GPU by a kernel of our own: the reference that a library's products are
// checked against, and what stands in for them where they are found to be wrong. Sums in the
// accumulator type, in the order of the inner dimension. Float32, bfloat16, float64; about a
// hundredth of the library's speed.
#pragma once
#include "core/cuda/stream.h"
#include "core/tensor.h"

namespace elastron::ops::cuda {

// As matmul_forward(), matmul_dgrad() and matmul_wgrad() (matmul.h).
void plain_matmul_forward(const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y,
                          elastron::cuda::Stream stream);
void plain_matmul_dgrad(const Tensor& dy, const Tensor& w, bool accumulate, Tensor& dx,
                        elastron::cuda::Stream stream);
void plain_matmul_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw,
                        elastron::cuda::Stream stream);

}  // namespace elastron::ops::cuda
