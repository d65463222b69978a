// Linear layers whose weight is split over the tensor-parallel group. Neither communicates: the
// caller sums where branches meet, once for all of them (parallel/region.h).
//
//   column-parallel  w [out / n, in]   x [T, in] the same on all ranks -> y [T, out / n]
//                    backward_input gives this rank's part of dx: add the branches that read x
//                    (q, k, v; gate, up), then sum_over_group.
//   row-parallel     w [out, in / n]   x [T, in / n] -> this rank's part of y [T, out]:
//                    sum_over_group. backward_input takes the whole dy and gives dx [T, in / n].
//
// No bias. Values are in one dtype; weight gradients in master dtype. A frozen layer needs no input
// in its backward pass and has no gradient.
#pragma once
#include <memory>
#include <string>

#include "core/parameter.h"
#include "ops/linear.h"
#include "parallel/communicator.h"

namespace elastron::parallel {

class ShardedLinear {
 public:
  Tensor forward(const Tensor& x) const { return ops::linear_forward(x, weight_); }
  // With `accumulate_into` the product is added to it and it is returned.
  Tensor backward_input(const Tensor& dy, const Tensor& accumulate_into = {}) const {
    return ops::linear_dgrad(dy, weight_, accumulate_into);
  }
  // gradient += dy^T x. Trainable layers only.
  void backward_weight(const Tensor& dy, const Tensor& x);

  // Reads a frozen weight where it is, without the repacked copies: slower, half the memory or
  // less.
  void use_in_place() { weight_ = ops::LinearWeight(parameter_->value, /*frozen=*/false); }

  // Its address stays the same when the layer is moved. Fill parameter().value before the first
  // use of a frozen layer, which keeps a repacked copy from then on.
  Parameter& parameter() { return *parameter_; }
  const Parameter& parameter() const { return *parameter_; }

 protected:
  explicit ShardedLinear(Parameter parameter);

 private:
  std::unique_ptr<Parameter> parameter_;
  ops::LinearWeight weight_;
};

// Throws UsageError when the group does not divide `out`.
class ColumnParallelLinear : public ShardedLinear {
 public:
  ColumnParallelLinear(const std::string& name, int64_t out, int64_t in, DType dtype,
                       bool trainable, const Communicator& tensor, Device& device);
};

// Throws UsageError when the group does not divide `in`.
class RowParallelLinear : public ShardedLinear {
 public:
  RowParallelLinear(const std::string& name, int64_t out, int64_t in, DType dtype, bool trainable,
                    const Communicator& tensor, Device& device);
};

}  // namespace elastron::parallel
