// CPU back end of ops/routed_attention.h. Checks nothing; `workspace` is one slice per thread.
#pragma once
#include <cstddef>

#include "ops/attention/args.h"

namespace elastron::ops::cpu {

// Bytes of scratch one thread needs, a multiple of 64.
size_t attention_forward_workspace(int64_t head_dim, DType storage);
// `accumulator_bytes` is 4 or 8.
size_t attention_backward_workspace(int64_t head_dim, size_t accumulator_bytes);

// Storage: double, float or bf16. `threads` slices of `workspace` bytes each start at `workspace`,
// 64-byte aligned. The result does not depend on the number of threads.
template <class Storage>
void routed_attention_forward(const AttentionForwardArgs& args, int threads, std::byte* workspace);
template <class Storage>
void routed_attention_backward(const AttentionBackwardArgs& args, int threads,
                               std::byte* workspace);

}  // namespace elastron::ops::cpu
