// Matrix products on the GPU: cuBLASLt, row-major tensors, bf16 with float32 accumulation, float32
// without TF32, float64.
//
// Algorithms of bf16 products that are large enough are timed on first use of a shape, with all
// numbers of rows of a bucket (row_bucket.h) as one shape, and kept per device; the others are the
// library's first choice, which is the same on every GPU of a kind. Timing needs no memory where
// the result may be written over, else at most kTimingScratch (ops/timed_products.h), and none of
// it is the run's: where there is no memory left it is left out.
#pragma once
#include "core/tensor.h"

namespace elastron::ops::cuda {

// Bytes that the library may use while a product runs.
inline constexpr int64_t kMatmulWorkspace = int64_t(32) << 20;

// The result of the first two may be columns of a wider tensor; with a bias it may not.
// y [tokens, out] = x [tokens, in] w[out, in]^T (+ bias [out])
void matmul_forward(const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y);
// dx [tokens, in] = or, with `accumulate`, += dy [tokens, out] w
void matmul_dgrad(const Tensor& dy, const Tensor& w, bool accumulate, Tensor& dx);
// dw [out, in] += dy^T x, in master dtype
void matmul_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw);

}  // namespace elastron::ops::cuda
