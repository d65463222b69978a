// LM head and softmax cross-entropy in one: hidden states in, loss and their gradient out. Logits
// exist only for a chunk of labelled rows at a time, and only for this rank's part of the
// vocabulary; never [tokens, vocab] (docs/method.md, Language-model loss).
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/parameter.h"
#include "ops/cross_entropy.h"
#include "ops/linear.h"
#include "parallel/communicator.h"

namespace elastron::parallel {

struct CrossEntropyOptions {
  bool need_gradient = false;
  // d(objective) / d(sum of the rows' losses): 1 / (labels of the whole global batch).
  double gradient_scale = 1.0;
  bool per_row = false;       // also loss and argmax of each labelled row (evaluation)
  int64_t chunk_rows = 2048;  // logits at a time: [chunk_rows, vocab / n]
};

struct CrossEntropyResult {
  // [1] float64 on the device: the losses of labelled rows, nats; undefined where there are none.
  Tensor sum;
  double loss_sum() const { return sum.defined() ? sum.to_vector<double>()[0] : 0; }  // waits
  int64_t count = 0;  // labelled rows
  // [T, hidden], dtype of the hidden states, the same on all ranks of the group; rows without a
  // label are 0. Undefined unless need_gradient.
  Tensor d_hidden;
  // With per_row, one entry per labelled row, in the order of the rows. The device was waited for.
  std::vector<int32_t> rows;
  std::vector<double> row_loss;
  std::vector<int32_t> argmax;  // vocabulary id; the smallest where several are largest
};

class VocabParallelHead {
 public:
  // Own weight [vocab, hidden], uninitialised, split and kept as by VocabParallelEmbedding.
  VocabParallelHead(const std::string& name, int64_t vocab, int64_t hidden, DType dtype,
                    bool trainable, Communicator& tensor, Device& device,
                    const std::optional<WeightStorage>& storage = {});
  // Tied to the embedding's table, which must outlive the head.
  VocabParallelHead(Parameter& table, Communicator& tensor);

  // hidden [T, hidden]; targets [T] on the host: the id to be predicted at each row, or
  // ops::kIgnoreLabel. Both the same on all ranks of the group. Accumulates the weight gradient
  // when trainable and need_gradient. Throws LogicError for a target outside the vocabulary.
  CrossEntropyResult loss(const Tensor& hidden, std::span<const int32_t> targets,
                          const CrossEntropyOptions& options);

  // [rows, hidden] -> logits [rows, vocab], whole, on every rank of the group. For few rows.
  Tensor logits(const Tensor& hidden) const;

  // As ShardedLinear's.
  void use_as_stored();

  Parameter& parameter() { return *parameter_; }
  const Parameter& parameter() const { return *parameter_; }

 private:
  ops::CrossEntropyWhole whole_rows(const Tensor& logits, const Tensor& labels) const;

  std::unique_ptr<Parameter> owned_;
  Parameter* parameter_;
  ops::LinearWeight weight_;
  Communicator* tensor_;
};

}  // namespace elastron::parallel
