// Matrix products on the GPU: cuBLASLt, row-major tensors, bf16 with float32 accumulation, float32
// without TF32, float64. Algorithms are timed on first use of a shape and kept per device.
#pragma once
#include "core/tensor.h"

namespace elastron::ops::cuda {

// Bytes that the library may use while a product runs.
inline constexpr int64_t kMatmulWorkspace = int64_t(32) << 20;

// y [tokens, out] = x [tokens, in] w[out, in]^T (+ bias [out])
void matmul_forward(const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y);
// dx [tokens, in] = or, with `accumulate`, += dy [tokens, out] w
void matmul_dgrad(const Tensor& dy, const Tensor& w, bool accumulate, Tensor& dx);
// dw [out, in] += dy^T x, in master dtype
void matmul_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw);

}  // namespace elastron::ops::cuda
