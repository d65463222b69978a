// CUDA back end of XAttention's choice (ops/block_choice.h), for float and bf16. The choice is the
// CPU's: the same masses in whole units, the same order of equals. bf16 goes to tensor cores where
// these take it; the plain kernel is for the rest (docs/attention-kernels.md).
//
// One launch for all heads of all sequences, rows that see most first. Gates are read on the
// device: nothing here waits for the host. Nothing depends on which block of threads works on what.
#pragma once
#include "core/cuda/stream.h"
#include "core/device.h"
#include "core/dtype.h"
#include "ops/attention/choice_args.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

// args.varlen and args.starts are read on the host, the rest on the device.
template <class T>
void choose_blocks(const BlockChoiceArgs& args, const XAttentionRule& rule, Device& device,
                   Stream stream);

void mma_choose_blocks(const XAttentionArgs& args, Device& device, Stream stream);

}  // namespace elastron::ops::cuda
