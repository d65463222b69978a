// Token embedding over a vocabulary shard.
#pragma once
#include "core/weight_scale.h"

namespace elastron::ops {

// ids [tokens] int32; table [rows, hidden] holds vocabulary rows [first_row, first_row + rows).
// Ids outside give zero rows, so that shards add up. -> [tokens, hidden] in the table's dtype.
Tensor embedding_forward(const Tensor& ids, const Tensor& table, int64_t first_row);
// The same in `dtype`, of a table that may be stored in another one and, in e4m3, has a scale.
Tensor embedding_forward(const Tensor& ids, const Tensor& table, int64_t first_row,
                         const WeightScale& scale, DType dtype);

// dtable [rows, hidden] master dtype += scatter of dy [tokens, hidden]. Deterministic: the order of
// additions to a row is the order of tokens, for any thread count.
void embedding_backward(const Tensor& dy, const Tensor& ids, int64_t first_row, Tensor& dtable);

}  // namespace elastron::ops
