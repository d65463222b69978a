#include "parallel/linear.h"

#include "core/trace.h"
#include "ops/elementwise.h"
#include "parallel/shard.h"

namespace elastron::parallel {

namespace {

constexpr const char* kAdapter = "adapter";

Partition weight_partition(const LinearShape& shape, const Communicator& tensor) {
  const bool rows = shape.split == Split::out;
  return even_partition(rows ? 0 : 1, rows ? shape.out : shape.in, tensor.rank(), tensor.size(),
                        shape.weight_name());
}

// An adapter's factors may train, so that their products read them in place.
Tensor scaled_forward(const Tensor& x, const Parameter& w, double scale) {
  Tensor y = ops::linear_forward(x, ops::LinearWeight(w.value, ops::WeightForm::in_place));
  ops::scale_into(y, scale);
  return y;
}

Tensor scaled_dgrad(const Tensor& dy, const Parameter& w, double scale) {
  Tensor dx = ops::linear_dgrad(dy, ops::LinearWeight(w.value, ops::WeightForm::in_place));
  ops::scale_into(dx, scale);
  return dx;
}

}  // namespace

ops::LinearWeight read_weight(const Parameter& p, ops::WeightForm form) {
  if (!p.scale.defined()) return {p.value, form};
  // Quantised, no library copy is kept.
  const bool packed = form == ops::WeightForm::packed;
  return {p.value, p.scale, packed ? ops::WeightForm::in_place : form};
}

ShardedLinear::ShardedLinear(const LinearShape& shape, DType dtype, bool trainable,
                             const Communicator& tensor, Device& device,
                             const std::optional<WeightStorage>& storage)
    : name_(shape.name),
      dtype_(dtype),
      parameter_(std::make_unique<Parameter>(make_sharded_weight(
          shape.weight_name(), {shape.out, shape.in}, weight_partition(shape, tensor),
          storage.value_or(dtype), trainable, device))),
      weight_(read_weight(*parameter_, ops::weight_form(trainable))) {
  if (!shape.bias) return;
  const bool rows = shape.split == Split::out;
  bias_ = std::make_unique<Parameter>(
      make_sharded_weight(shape.bias_name(), {shape.out},
                          rows ? parameter_->partition : Partition{}, dtype, trainable, device));
  adds_bias_ = rows || tensor.rank() == 0;
}

Tensor ShardedLinear::forward(const Tensor& x) const {
  Tensor y = ops::linear_forward(x, weight_, adds_bias_ ? bias_->value : Tensor{});
  if (adapter_) {
    const TraceRange range(kAdapter);
    const Tensor low = scaled_forward(x, adapter_->a, adapter_->scale);
    ops::add_into(y, ops::linear_forward(
                         low, ops::LinearWeight(adapter_->b.value, ops::WeightForm::in_place)));
  }
  return y;
}

Tensor ShardedLinear::backward_input(const Tensor& dy, const Tensor& accumulate_into) const {
  Tensor dx = ops::linear_dgrad(dy, weight_, accumulate_into);
  if (!adapter_) return dx;
  const TraceRange range(kAdapter);
  const Tensor low = scaled_dgrad(dy, adapter_->b, adapter_->scale);
  return ops::linear_dgrad(low, ops::LinearWeight(adapter_->a.value, ops::WeightForm::in_place),
                           dx);
}

void ShardedLinear::backward_weight(const Tensor& dy, const Tensor& x,
                                    const GradientSink& on_gradient) {
  ELASTRON_CHECK(trains(), parameter_->name + " is frozen");
  if (adapter_ && adapter_->a.trainable) {
    const TraceRange range(kAdapter);
    ops::linear_wgrad(dy, scaled_forward(x, adapter_->a, adapter_->scale), adapter_->b.grad);
    ops::linear_wgrad(scaled_dgrad(dy, adapter_->b, adapter_->scale), x, adapter_->a.grad);
    on_gradient(adapter_->b);
    on_gradient(adapter_->a);
  }
  if (!parameter_->trainable) return;
  ops::linear_wgrad(dy, x, parameter_->grad);
  on_gradient(*parameter_);
  if (!bias_) return;
  ops::linear_bias_grad(dy, bias_->grad);
  on_gradient(*bias_);
}

void ShardedLinear::append_parameters(ParameterList& list) {
  list.push_back(parameter_.get());
  if (bias_) list.push_back(bias_.get());
}

void ShardedLinear::append_adapter(ParameterList& list) {
  if (adapter_) list.insert(list.end(), {&adapter_->a, &adapter_->b});
}

void ShardedLinear::adapt(int64_t rank, double scale, bool trainable) {
  const Parameter& w = *parameter_;
  const bool rows = w.partition.dim == 0;  // Split::out
  // The factor that is split is split as the weight is.
  Partition of_a, of_b;
  (rows ? of_b : of_a) = w.partition;
  const auto make = [&](const char* leaf, const Shape& shape, const Partition& partition) {
    Parameter p =
        make_sharded_weight(name_ + leaf, shape, partition, dtype_, trainable, w.value.device());
    p.group = ParameterGroup::lora;
    p.gradient_partial_over_tensor = partition.replicated();
    p.value.zero();
    if (trainable) p.master.zero();
    return p;
  };
  adapter_ = std::make_unique<LowRankAdapter>(
      LowRankAdapter{.scale = scale,
                     .a = make(".lora_A.weight", {rank, w.logical_shape[1]}, of_a),
                     .b = make(".lora_B.weight", {w.logical_shape[0], rank}, of_b)});
}

}  // namespace elastron::parallel
