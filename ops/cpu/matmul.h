// Matrix products on the CPU: oneDNN for float32 and bfloat16, plain loops for float64.
//
// Row-major throughout. With W [out, in]:
//   forward  y [rows, out]  = x  [rows, in]  W^T (+ bias)
//   dgrad    dx [rows, in] (+)= dy [rows, out] W
//   wgrad    dW [out, in]   += dy^T x
#pragma once
#include <dnnl.hpp>
#include <memory>
#include <optional>

#include "core/tensor.h"

namespace elastron::ops::cpu {

// A frozen weight in the layout oneDNN prefers for one direction. Built on first use.
struct PackedWeight {
  std::optional<dnnl::memory> memory;
};

// `packed` null: the weight is read in place.
void matmul_forward(const Tensor& x, const Tensor& w, const Tensor& bias, PackedWeight* packed,
                    Tensor& y);
void matmul_dgrad(const Tensor& dy, const Tensor& w, PackedWeight* packed, bool accumulate,
                  Tensor& dx);
void matmul_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw);

}  // namespace elastron::ops::cpu
