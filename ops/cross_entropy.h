// Softmax cross-entropy over a vocabulary shard, in the pieces between which a vocab-parallel
// caller gathers. Statistics are computed in master dtype (float32; float64 for float64 logits) and
// kept in float64. Nothing here waits for the device.
#pragma once
#include "core/tensor.h"

namespace elastron::ops {

inline constexpr int32_t kIgnoreLabel = -100;

// One shard's share of every row: float64 [rows] views of `parts` [4, rows], what ranks exchange.
struct CrossEntropyRows {
  Tensor parts;
  Tensor max;      // largest logit of the shard
  Tensor sum_exp;  // sum of exp(logit - max)
  Tensor target;   // logit of the label where this shard holds it, else 0
  Tensor argmax;   // vocabulary id of the first largest logit of the shard
};

// logits [rows, shard], labels [rows] int32; the shard holds ids [first_id, first_id + shard).
CrossEntropyRows cross_entropy_rows(const Tensor& logits, const Tensor& labels, int64_t first_id);

// Whole rows of all shards.
struct CrossEntropyWhole {
  Tensor lse;     // [rows] master dtype
  Tensor loss;    // [rows] float64, nats
  Tensor argmax;  // [rows] int32: the smallest id where several logits are largest
};
// parts [shards, 4, rows] in the order of the vocabulary; `master`: of lse.
CrossEntropyWhole cross_entropy_combine(const Tensor& parts, DType master);

// logits -> d(loss)/d(logits) in place: (exp(logit - lse) - [id == label]) * scale; rows whose
// label is kIgnoreLabel become 0. lse [rows].
void cross_entropy_backward(Tensor& logits, const Tensor& labels, const Tensor& lse,
                            int64_t first_id, double scale);

}  // namespace elastron::ops
