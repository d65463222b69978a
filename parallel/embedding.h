// Token embedding with the vocabulary split over the tensor-parallel group: contiguous parts of
// ceil(vocab / n) rows, the last ones perhaps shorter or empty.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "core/parameter.h"
#include "parallel/communicator.h"

namespace elastron::parallel {

class VocabParallelEmbedding {
 public:
  // Table [vocab, hidden], uninitialised, in `dtype` unless it is frozen and `storage` says
  // otherwise; rows that are read are in `dtype`. `tensor` must outlive the layer.
  VocabParallelEmbedding(const std::string& name, int64_t vocab, int64_t hidden, DType dtype,
                         bool trainable, Communicator& tensor, Device& device,
                         const std::optional<WeightStorage>& storage = {});

  // ids [T] int32 in [0, vocab) -> this rank's part of the sum [T, hidden], for
  // TensorRegion::leave().
  Tensor forward(const Tensor& ids) const;
  // dy [T, hidden], the same on all ranks. Gradient += scatter of dy. Trainable only.
  void backward_weight(const Tensor& dy, const Tensor& ids);

  // Its address stays the same when the layer is moved.
  Parameter& parameter() { return *parameter_; }
  const Parameter& parameter() const { return *parameter_; }

 private:
  DType dtype_;
  std::unique_ptr<Parameter> parameter_;
};

}  // namespace elastron::parallel
