#include "parallel/embedding.h"

#include "ops/embedding.h"
#include "parallel/shard.h"

namespace elastron::parallel {

VocabParallelEmbedding::VocabParallelEmbedding(const std::string& name, int64_t vocab,
                                               int64_t hidden, DType dtype, bool trainable,
                                               Communicator& tensor, Device& device,
                                               const std::optional<WeightStorage>& storage)
    : dtype_(dtype),
      parameter_(std::make_unique<Parameter>(make_sharded_weight(
          name, {vocab, hidden}, ceil_partition(0, vocab, tensor.rank(), tensor.size()),
          storage.value_or(dtype), trainable, device))) {}

Tensor VocabParallelEmbedding::forward(const Tensor& ids) const {
  return ops::embedding_forward(ids, parameter_->value, parameter_->partition.offset,
                                parameter_->scale, dtype_);
}

void VocabParallelEmbedding::backward_weight(const Tensor& dy, const Tensor& ids) {
  ELASTRON_CHECK(parameter_->trainable, parameter_->name + " is frozen");
  ops::embedding_backward(dy, ids, parameter_->partition.offset, parameter_->grad);
}

}  // namespace elastron::parallel
