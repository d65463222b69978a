// CPU back end of ops/attention_argmax.h: plain pointers, everything checked by the caller.
#pragma once
#include "ops/attention_argmax.h"
#include "ops/cpu/decode_attention.h"

namespace elastron::ops::cpu {

// q [head_dim]; k: of its kv head, rows `stride` numbers apart. -> token
template <class T>
int32_t strongest_key(const T* q, const T* k, int64_t stride, int64_t head_dim, QueryRow row) {
  using A = accumulator_t<T>;
  int32_t best = row.first_key;
  A most = -std::numeric_limits<A>::infinity();
  for (int32_t j = row.first_key; j <= row.query; ++j) {
    const A score = dot_row(q, k + j * stride, head_dim);
    if (score > most) {
      most = score;
      best = j;
    }
  }
  return best;
}

}  // namespace elastron::ops::cpu
