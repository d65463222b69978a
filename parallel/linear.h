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
//
// With a low-rank adapter (LoRA, Hu et al. 2021): y = (w + scale B A) x, A [rank, in], B [out,
// rank]. A column-parallel layer splits B's rows and has all of A, a row-parallel one splits A's
// columns and has all of B; the whole factor's gradient is partial over the group.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "core/parameter.h"
#include "ops/linear.h"
#include "parallel/communicator.h"

namespace elastron::parallel {

// The two factors that stand beside a frozen weight.
struct LowRankAdapter {
  double scale = 1;
  Parameter a, b;  // names: the weight's with .weight replaced by .lora_A.weight, .lora_B.weight
};

class ShardedLinear {
 public:
  Tensor forward(const Tensor& x) const;
  // With `accumulate_into` the product is added to it and it is returned.
  Tensor backward_input(const Tensor& dy, const Tensor& accumulate_into = {}) const;
  // Whether anything of the layer trains: its weight, or an adapter.
  bool trains() const { return parameter_->trainable || (adapter_ && adapter_->a.trainable); }
  // Adds to the gradients of what trains; `on_gradient` is called with each parameter.
  void backward_weight(
      const Tensor& dy, const Tensor& x,
      const std::function<void(Parameter&)>& on_gradient = [](Parameter&) {});

  // Gives the layer an adapter of `rank`, B zero and A uninitialised.
  void adapt(int64_t rank, double scale, bool trainable);
  // nullptr without one.
  LowRankAdapter* adapter() { return adapter_.get(); }

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
  std::unique_ptr<LowRankAdapter> adapter_;
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
