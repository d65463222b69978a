// What attention's kernels allocate, copy and launch on a GPU, done on a meta device: the same
// steps as routed_attention.h, library_attention.h, xattention.h and topk.h without the work. Plain C++.
#pragma once
#include <cstdint>

#include "core/meta_device.h"
#include "ops/attention/choice_args.h"
#include "ops/cuda/attention/routed_attention.h"

namespace elastron::ops::cuda {

// -> launches, with that which counts the visited tiles. `library`: whether full attention is one's.
int64_t meta_attention_forward(const AttentionForwardArgs& args, DType dtype, bool library,
                               int64_t rows, MetaDevice& meta);
// -> launches, without those of row dots and the gate's gradient.
int64_t meta_attention_gradients(const AttentionBackwardArgs& args, DType dtype, bool library,
                                 MetaDevice& meta);
// -> launches.
int64_t meta_choose_blocks(const BlockChoiceArgs& args, const XAttentionRule& rule, DType dtype,
                           MetaDevice& meta);
int64_t meta_choose_blocks(const BlockChoiceArgs& args, const TopkRule& rule, DType dtype,
                           MetaDevice& meta);

}  // namespace elastron::ops::cuda
