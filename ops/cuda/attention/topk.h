// CUDA back end of the top k blocks (ops/topk.h), for float and bf16. The choice is the CPU's: the
// same sums in the same order, the same order of equals. Gates are read on the device: nothing here
// waits for the host.
#pragma once
#include "core/cuda/stream.h"
#include "core/device.h"
#include "ops/attention/choice_args.h"
#include "ops/topk.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

// args.varlen and args.starts are read on the host, the rest on the device.
template <class T>
void choose_blocks(const BlockChoiceArgs& args, const TopkRule& rule, Device& device,
                   Stream stream);

}  // namespace elastron::ops::cuda
