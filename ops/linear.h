// Linear layers: y = x w^T (+ bias). Matrix products run in oneDNN (float32, bfloat16 with float32
// accumulation); float64, used by the finite-difference checks, runs in plain loops. On the GPU all
// run in cuBLASLt.
//
// Three dtypes may differ: that of the activations (x, y, dy, dx and the bias), that in which the
// weight is stored, and that in which is multiplied. The product is in the activations' dtype where
// the device has it; on a CPU without bfloat16 products bfloat16 is multiplied in float32. A weight
// that is stored otherwise is converted: on the CPU a few rows or columns at a time, never as a
// whole; on a GPU into memory that is free again when the product is queued, a quantised
// one in parts (ops/converted_weights.h).
//
// Forward, dgrad (gradient to the input) and wgrad (gradient to the weight) are separate functions:
// a frozen layer calls the first two and saves no input (docs/method.md, Costs).
#pragma once
#include <memory>

#include "core/tensor.h"
#include "core/weight_scale.h"

namespace elastron::ops {

// How a weight is held for the products.
enum class WeightForm : uint8_t {
  in_place,  // as the tensor lies: one that trains, so that an optimiser step needs no notification
  packed,    // frozen: on the CPU once more per direction, in the layout the library likes best,
             // built on first use and kept. Where it would have to be converted, as in_place.
  as_stored,  // frozen, for decoding: as it lies, without copies, and few rows are multiplied by
              // their own product
};

inline WeightForm weight_form(bool trains) {
  return trains ? WeightForm::in_place : WeightForm::packed;
}

// On a CPU, products of at most so many rows with a weight as stored, in float32 or bfloat16, give
// each row what it gets alone, bit for bit. (They are summed otherwise than those of more rows, so
// that weights that meet both, as a router's do, are in place.)
inline constexpr int64_t kRowsAlike = 16;

// A weight [out, in], which it keeps alive. Movable, not copyable.
class LinearWeight {
 public:
  LinearWeight();
  LinearWeight(Tensor weight, WeightForm form);
  // Quantised and frozen: the weight is `values` times `scale`. On a GPU the values are e4m3.
  LinearWeight(Tensor values, WeightScale scale, WeightForm form = WeightForm::in_place);
  ~LinearWeight();
  LinearWeight(LinearWeight&&) noexcept;
  LinearWeight& operator=(LinearWeight&&) noexcept;

  const Tensor& tensor() const { return weight_; }
  const WeightScale& scale() const { return scale_; }  // undefined unless quantised
  int64_t out_features() const { return weight_.size(0); }
  int64_t in_features() const { return weight_.size(1); }

  struct Packed;  // owned by ops/cpu
  Packed* packed() const { return packed_.get(); }
  WeightForm form() const { return form_; }

 private:
  Tensor weight_;
  WeightForm form_ = WeightForm::in_place;
  WeightScale scale_;
  std::unique_ptr<Packed> packed_;
};

// x [tokens, in], w [out, in], bias [out] or undefined -> [tokens, out], in x's dtype.
Tensor linear_forward(const Tensor& x, const LinearWeight& w, const Tensor& bias = {});

// dy [tokens, out] -> dx [tokens, in], in dy's dtype. With `accumulate_into` defined ([tokens, in])
// the product is added to it and it is returned: the sum over the branches that read the same x.
Tensor linear_dgrad(const Tensor& dy, const LinearWeight& w, const Tensor& accumulate_into = {});

// dw [out, in] += dy^T x, in master dtype (float32; float64 for float64 inputs).
void linear_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw);

// db [out] += column sums of dy, in master dtype.
void linear_bias_grad(const Tensor& dy, Tensor& db);

}  // namespace elastron::ops
