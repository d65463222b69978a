#include "parallel/linear.h"

#include "ops/elementwise.h"
#include "parallel/shard.h"

namespace elastron::parallel {

ShardedLinear::ShardedLinear(Parameter parameter)
    : parameter_(std::make_unique<Parameter>(std::move(parameter))),
      weight_(parameter_->value, /*frozen=*/!parameter_->trainable) {}

namespace {

// x w^T times `scale`: of the small products with an adapter's factors, which train and are used in
// place.
Tensor scaled_forward(const Tensor& x, const Parameter& w, double scale) {
  Tensor y = ops::linear_forward(x, ops::LinearWeight(w.value, /*frozen=*/false));
  ops::scale_into(y, scale);
  return y;
}

Tensor scaled_dgrad(const Tensor& dy, const Parameter& w, double scale) {
  Tensor dx = ops::linear_dgrad(dy, ops::LinearWeight(w.value, /*frozen=*/false));
  ops::scale_into(dx, scale);
  return dx;
}

}  // namespace

Tensor ShardedLinear::forward(const Tensor& x) const {
  Tensor y = ops::linear_forward(x, weight_);
  if (adapter_) {
    const Tensor low = scaled_forward(x, adapter_->a, adapter_->scale);
    ops::add_into(y, ops::linear_forward(low, ops::LinearWeight(adapter_->b.value, false)));
  }
  return y;
}

Tensor ShardedLinear::backward_input(const Tensor& dy, const Tensor& accumulate_into) const {
  Tensor dx = ops::linear_dgrad(dy, weight_, accumulate_into);
  if (!adapter_) return dx;
  const Tensor low = scaled_dgrad(dy, adapter_->b, adapter_->scale);
  return ops::linear_dgrad(low, ops::LinearWeight(adapter_->a.value, false), dx);
}

void ShardedLinear::backward_weight(const Tensor& dy, const Tensor& x,
                                    const std::function<void(Parameter&)>& on_gradient) {
  ELASTRON_CHECK(trains(), parameter_->name + " is frozen");
  if (adapter_ && adapter_->a.trainable) {
    ops::linear_wgrad(dy, scaled_forward(x, adapter_->a, adapter_->scale), adapter_->b.grad);
    ops::linear_wgrad(scaled_dgrad(dy, adapter_->b, adapter_->scale), x, adapter_->a.grad);
    on_gradient(adapter_->b);
    on_gradient(adapter_->a);
  }
  if (parameter_->trainable) {
    ops::linear_wgrad(dy, x, parameter_->grad);
    on_gradient(*parameter_);
  }
}

void ShardedLinear::adapt(int64_t rank, double scale, bool trainable) {
  const Parameter& w = *parameter_;
  const std::string stem = w.name.substr(0, w.name.rfind(".weight"));
  const bool rows = w.partition.dim == 0;  // column-parallel
  // What is split is split as the weight is.
  Partition of_a, of_b;
  (rows ? of_b : of_a) = w.partition;
  const auto make = [&](const char* leaf, const Shape& shape, const Partition& partition) {
    Parameter p = make_sharded_weight(stem + leaf, shape, partition, w.value.dtype(), trainable,
                                      w.value.device());
    p.group = ParameterGroup::lora;
    p.gradient_partial_over_tensor = partition.replicated();
    p.value.zero();
    return p;
  };
  adapter_ = std::make_unique<LowRankAdapter>(
      LowRankAdapter{.scale = scale,
                     .a = make(".lora_A.weight", {rank, w.logical_shape[1]}, of_a),
                     .b = make(".lora_B.weight", {w.logical_shape[0], rank}, of_b)});
}

ColumnParallelLinear::ColumnParallelLinear(const std::string& name, int64_t out, int64_t in,
                                           DType dtype, bool trainable, const Communicator& tensor,
                                           Device& device)
    : ShardedLinear(make_sharded_weight(name, {out, in},
                                        even_partition(0, out, tensor.rank(), tensor.size(), name),
                                        dtype, trainable, device)) {}

RowParallelLinear::RowParallelLinear(const std::string& name, int64_t out, int64_t in, DType dtype,
                                     bool trainable, const Communicator& tensor, Device& device)
    : ShardedLinear(make_sharded_weight(name, {out, in},
                                        even_partition(1, in, tensor.rank(), tensor.size(), name),
                                        dtype, trainable, device)) {}

}  // namespace elastron::parallel
