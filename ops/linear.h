// Linear layers: y = x w^T (+ bias). Matrix products run in oneDNN (float32, bfloat16 with float32
// accumulation); float64, used by the finite-difference checks, runs in plain loops. On the GPU all
// run in cuBLASLt.
//
// Forward, dgrad (gradient to the input) and wgrad (gradient to the weight) are separate functions:
// a frozen layer calls the first two and saves no input (docs/method.md, Costs).
#pragma once
#include <memory>

#include "core/tensor.h"

namespace elastron::ops {

// A weight [out, in] as the matrix products see it. On the CPU a frozen weight is repacked once per
// direction into the layout the library likes best (built on first use and kept; costs one more
// copy per direction); a trainable one is used in place, so that an optimiser step needs no
// notification. Keeps the tensor alive. Movable, not copyable.
class LinearWeight {
 public:
  LinearWeight();
  LinearWeight(Tensor weight, bool frozen);
  ~LinearWeight();
  LinearWeight(LinearWeight&&) noexcept;
  LinearWeight& operator=(LinearWeight&&) noexcept;

  const Tensor& tensor() const { return weight_; }
  int64_t out_features() const { return weight_.size(0); }
  int64_t in_features() const { return weight_.size(1); }
  bool frozen() const { return frozen_; }

  struct Packed;  // owned by ops/cpu
  Packed* packed() const { return packed_.get(); }

 private:
  Tensor weight_;
  bool frozen_ = false;
  std::unique_ptr<Packed> packed_;
};

// Whether the device multiplies matrices of this dtype; bfloat16 needs AVX-512 on a CPU.
bool has_products(DType dtype, Device& device);

// x [tokens, in], w [out, in], bias [out] or undefined -> [tokens, out]; all of one dtype.
Tensor linear_forward(const Tensor& x, const LinearWeight& w, const Tensor& bias = {});

// dy [tokens, out] -> dx [tokens, in]. With `accumulate_into` defined ([tokens, in]) the product is
// added to it and it is returned: the sum over the branches that read the same x.
Tensor linear_dgrad(const Tensor& dy, const LinearWeight& w, const Tensor& accumulate_into = {});

// dw [out, in] += dy^T x, in master dtype (float32; float64 for float64 inputs).
void linear_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw);

// db [out] += column sums of dy, in master dtype.
void linear_bias_grad(const Tensor& dy, Tensor& db);

}  // namespace elastron::ops
