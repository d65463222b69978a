// Token embedding over a vocabulary shard.
#pragma once
#include "core/tensor.h"

namespace elastron::ops {

// ids [tokens] int32; table [rows, hidden] holds vocabulary rows [first_row, first_row + rows).
// Ids outside give zero rows, so that shards add up. -> [tokens, hidden]
Tensor embedding_forward(const Tensor& ids, const Tensor& table, int64_t first_row);

// dtable [rows, hidden] master dtype += scatter of dy [tokens, hidden]. Deterministic: the order of
// additions to a row is the order of tokens, for any thread count.
void embedding_backward(const Tensor& dy, const Tensor& ids, int64_t first_row, Tensor& dtable);

}  // namespace elastron::ops
