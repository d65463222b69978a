// How far logits are from those of the same model with other weights or another storage of them.
#pragma once
#include <string>

#include "core/tensor.h"
#include "parallel/communicator.h"

namespace elastron::train {

class LogitsDifference {
 public:
  // Both [rows, vocab] float32 on the host, of the same tokens.
  void add(const Tensor& logits, const Tensor& reference);

  // Over all tokens of all ranks of `group`, which add different ones; collective. One line:
  // KL(reference || given) per token in nats, its mean and the largest, and the share of tokens
  // whose largest logit is the same one.
  std::string summary(parallel::Communicator& group) const;

 private:
  double kl_ = 0, worst_ = 0;
  int64_t tokens_ = 0, same_ = 0;
};

}  // namespace elastron::train
