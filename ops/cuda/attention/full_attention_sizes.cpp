#include <bit>

#include "ops/cuda/attention/full_attention.h"

namespace elastron::ops::cuda {

int64_t rounded_size(int64_t size) {
  constexpr int64_t kLeast = 128;
  if (size <= kLeast) return kLeast;
  const int64_t step = int64_t(std::bit_floor(uint64_t(size - 1))) / 8;
  return (size + step - 1) / step * step;
}

int64_t full_attention_workspace(const FullAttentionShape& shape) {
  if (!shape.backward) return 0;
  // dq is summed in float32, dk and dv per query head, and each row's <dO, O> is kept.
  const int64_t rows = shape.tokens * shape.q_heads * shape.head_dim * int64_t(sizeof(float));
  return (shape.q_heads == shape.kv_heads ? rows : 3 * rows) +
         shape.tokens * shape.lse_stride * int64_t(sizeof(float));
}

}  // namespace elastron::ops::cuda
