// Around calls of full attention: which pairs take part, and what of the result is whose.
#pragma once
#include <cstdint>

#include "core/cuda/stream.h"
#include "core/dtype.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

// lengths [parts][kv_heads][n] = all [parts][n] of the n sequences numbered `of` [n], where the
// pair's gate [.., kv_heads] is open, else 1: cuDNN takes no empty sequences before 9.25. parts:
// lengths in tokens, and in keys where these differ.
void pair_lengths(const uint8_t* gate, const int32_t* of, const int32_t* all, int64_t n,
                  int64_t kv_heads, int64_t parts, int32_t* lengths, Stream stream);

// a, b [tokens, q_heads, head_dim] and the log-sum-exps [tokens, q_heads] of both: where the pair's
// gate is closed, a and b change places, and so do their log-sum-exps. cu_seqlens [sequences + 1].
// head_dim a multiple of 8.
void swap_closed_pairs(const uint8_t* gate, const int32_t* cu_seqlens, int64_t sequences,
                       int64_t tokens, int64_t q_heads, int64_t kv_heads, int64_t head_dim, bf16* a,
                       bf16* b, float* lse_a, float* lse_b, Stream stream);

}  // namespace elastron::ops::cuda
