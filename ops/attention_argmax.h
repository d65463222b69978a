// Which key a query attends to most: of full causal attention, whose softmax keeps the order of the
// products.
#pragma once
#include <cstdint>
#include <span>

#include "core/tensor.h"

namespace elastron::ops {

// A query of a packed batch and the keys before it: tokens [first_key, query], at least one.
struct QueryRow {
  int32_t query = 0, first_key = 0;
};

// q [T, Hq, D] and k [T, K, D] after RoPE, one dtype; query head h reads kv head h / (Hq / K).
// -> [R, Hq] int32: for each row the token whose key has the largest product with the query, summed
// in the dtype's accumulator; of equal ones the first.
Tensor attention_argmax(const Tensor& q, const Tensor& k, std::span<const QueryRow> rows);

}  // namespace elastron::ops
