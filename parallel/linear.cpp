#include "parallel/linear.h"

#include "parallel/shard.h"

namespace elastron::parallel {

ShardedLinear::ShardedLinear(Parameter parameter)
    : parameter_(std::make_unique<Parameter>(std::move(parameter))),
      weight_(parameter_->value, /*frozen=*/!parameter_->trainable) {}

void ShardedLinear::backward_weight(const Tensor& dy, const Tensor& x) {
  ELASTRON_CHECK(parameter_->trainable, parameter_->name + " is frozen");
  ops::linear_wgrad(dy, x, parameter_->grad);
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
