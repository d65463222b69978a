// Linear layers whose weight is split over the tensor-parallel group. None of them communicates:
// the caller sums where branches meet, once for all of them (parallel/region.h).
//
//   Split::out  w [out / n, in]   x [T, in] the same on all ranks -> y [T, out / n]
//               backward_input gives this rank's part of dx: add the branches that read x
//               (q, k, v; gate, up), then sum_over_group.
//   Split::in   w [out, in / n]   x [T, in / n] -> this rank's part of y [T, out]: sum_over_group.
//               backward_input takes the whole dy and gives dx [T, in / n].
//
// A bias [out] is split as the outputs are; under Split::in every rank holds all of it and the
// first adds it, so that it enters the sum once. Values are in one dtype; gradients in master
// dtype. A frozen layer needs no input in its backward pass and has no gradient.
//
// With a low-rank adapter (LoRA, Hu et al. 2021): y = (w + scale B A) x, A [rank, in], B [out,
// rank]. Split::out splits B's rows and has all of A, Split::in splits A's columns and has all of
// B; the whole factor's gradient is partial over the group.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/parameter.h"
#include "ops/linear.h"
#include "parallel/communicator.h"

namespace elastron::parallel {

// Called with each parameter whose gradient is complete.
using GradientSink = std::function<void(Parameter&)>;

// The side of a weight that a tensor group shares.
enum class Split : uint8_t { out, in };

// A linear layer as a whole, before it is split.
struct LinearShape {
  std::string name;  // of the module
  int64_t out = 0, in = 0;
  Split split = Split::out;
  bool bias = false;

  std::string weight_name() const { return name + ".weight"; }
  std::string bias_name() const { return name + ".bias"; }
};
// Whether it is a linear's bias, by its name.
inline bool is_bias(const Parameter& p) { return p.name.ends_with(".bias"); }

// A parameter's weight as products read it.
ops::LinearWeight read_weight(const Parameter& p, ops::WeightForm form);

// The two factors that stand beside a frozen weight.
struct LowRankAdapter {
  double scale = 1;
  Parameter a, b;  // names: the module's with .lora_A.weight, .lora_B.weight
};

class ShardedLinear {
 public:
  // Weight and bias are allocated, not filled. Activations, bias and adapters are in `dtype`, and so
  // is the weight unless it is frozen and `storage` says otherwise. Throws UsageError when the group
  // does not divide the side that is split.
  ShardedLinear(const LinearShape& shape, DType dtype, bool trainable, const Communicator& tensor,
                Device& device, const std::optional<WeightStorage>& storage = {});

  Tensor forward(const Tensor& x) const;
  // With `accumulate_into` the product is added to it and it is returned.
  Tensor backward_input(const Tensor& dy, const Tensor& accumulate_into = {}) const;
  // Whether anything of the layer trains: its weight and bias, or an adapter.
  bool trains() const { return parameter_->trainable || (adapter_ && adapter_->a.trainable); }
  // Adds to the gradients of what trains.
  void backward_weight(
      const Tensor& dy, const Tensor& x, const GradientSink& on_gradient = [](Parameter&) {});

  // Gives the layer an adapter of `rank`, B zero and A uninitialised.
  void adapt(int64_t rank, double scale, bool trainable);
  // nullptr without one.
  LowRankAdapter* adapter() { return adapter_.get(); }

  // Reads a frozen weight where it is, without the repacked copies: slower but for few rows, half the
  // memory or less.
  void use_as_stored() { weight_ = read_weight(*parameter_, ops::WeightForm::as_stored); }

  // Weight and bias, and the adapter's factors. Their addresses stay the same when the layer is
  // moved.
  void append_parameters(ParameterList& list);
  void append_adapter(ParameterList& list);
  // The weight. Fill its value before the first use of a frozen layer, which keeps a repacked copy
  // from then on.
  Parameter& parameter() { return *parameter_; }
  const Parameter& parameter() const { return *parameter_; }
  // nullptr without one.
  Parameter* bias() { return bias_.get(); }

 private:
  std::string name_;
  DType dtype_;
  std::unique_ptr<Parameter> parameter_, bias_;
  bool adds_bias_ = false;  // on this rank
  ops::LinearWeight weight_;
  std::unique_ptr<LowRankAdapter> adapter_;
};

}  // namespace elastron::parallel
