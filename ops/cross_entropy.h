// Softmax cross-entropy over a vocabulary shard, in the pieces between which a vocab-parallel
// caller reduces. All statistics in master dtype (float32; float64 for float64 logits).
#pragma once
#include "core/tensor.h"

namespace elastron::ops {

inline constexpr int32_t kIgnoreLabel = -100;

struct CrossEntropyRows {
  Tensor max;      // [rows] largest logit of the shard
  Tensor sum_exp;  // [rows] sum of exp(logit - max)
  Tensor target;   // [rows] logit of the label where this shard holds it, else 0
  Tensor argmax;   // [rows] int32 vocabulary id of the first largest logit of the shard
};

// logits [rows, shard], labels [rows] int32; the shard holds ids [first_id, first_id + shard).
CrossEntropyRows cross_entropy_rows(const Tensor& logits, const Tensor& labels, int64_t first_id);

// logits -> d(loss)/d(logits) in place: (exp(logit - lse) - [id == label]) * scale; rows whose
// label is kIgnoreLabel become 0. lse [rows].
void cross_entropy_backward(Tensor& logits, const Tensor& labels, const Tensor& lse,
                            int64_t first_id, double scale);

}  // namespace elastron::ops
