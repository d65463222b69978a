// What sums of bfloat16 take of a GPU beside their tensors (parallel/nccl.h says why they are made
// so): for who makes them, and for plans.
#pragma once
#include "core/tensor.h"

namespace elastron::parallel {

// Of an all_reduce over `ranks`, each of which adds up a part.
struct Bfloat16Sum {
  Bfloat16Sum(const Tensor& t, int ranks);

  Tensor part(int rank) const { return whole.slice(0, rank * count, (rank + 1) * count); }
  // Once all parts are there: puts the sum where the tensor is.
  void bring_back(Tensor& t) const;

  int64_t count = 0;  // numbers of a part
  Tensor whole;       // [ranks * count]: the tensor itself, or a longer copy
  Tensor parts;       // [ranks * count]: one part, of every rank
};

// Of a reduce_scatter: this rank's part of `in`, of every rank.
Tensor parts_of_scattered(const Tensor& in);

}  // namespace elastron::parallel
