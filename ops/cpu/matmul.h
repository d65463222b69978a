// Matrix products on the CPU: oneDNN for float32 and bfloat16, plain loops for float64.
//
// Row-major throughout. With W [out, in]:
//   forward  y [rows, out]  = x  [rows, in]  W^T (+ bias)
//   dgrad    dx [rows, in] (+)= dy [rows, out] W
//   wgrad    dW [out, in]   += dy^T x
#pragma once
#include <dnnl.hpp>

#include "core/tensor.h"

namespace elastron::ops::cpu {

// A frozen weight in the layout oneDNN prefers for one direction. Built on first use, from memory
// of the weight's device.
struct PackedWeight {
  dnnl::memory::desc layout;
  Tensor bytes;  // undefined until then
};

// Whether oneDNN has products of this dtype on this CPU: it is asked for one, once per device.
bool has_products(DType dtype, Device& device);

// Directions of a product with a weight.
enum class Product : uint8_t { forward, dgrad, wgrad };

// Whether `w` is repacked for products with activations of that dtype, and the bytes of a
// PackedWeight then. No tensor is read.
bool is_packed(DType activations, const Tensor& w);
int64_t packed_bytes(Product product, const Tensor& w);
// Now, rather than on first use, in memory of the caller's choice, packed_bytes() of it. Only where
// is_packed().
void pack(Product product, const Tensor& w, const Tensor& bytes, PackedWeight& packed);

// All operands in one dtype that the CPU has products of (the sums `dw` in float32 or float64).
// `packed` null: the weight is read in place. No extent of `w` or `dw` is 0; rows may be. Results
// do not depend on the number of threads.
void matmul_forward(const Tensor& x, const Tensor& w, const Tensor& bias, PackedWeight* packed,
                    Tensor& y);
void matmul_dgrad(const Tensor& dy, const Tensor& w, PackedWeight* packed, bool accumulate,
                  Tensor& dx);
void matmul_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw);

}  // namespace elastron::ops::cpu
