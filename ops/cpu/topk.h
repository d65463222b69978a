// CPU back end of the top k blocks (ops/topk.h). Checks nothing.
#pragma once
#include <cstddef>

#include "ops/attention/choice_args.h"
#include "ops/topk.h"

namespace elastron::ops::cpu {

// Bytes of scratch: the means of all blocks, in the accumulator type.
size_t topk_workspace(const BlockChoiceArgs& args, size_t accumulator_bytes);

// Storage: double, float or bf16.
template <class Storage>
void choose_blocks(const BlockChoiceArgs& args, const TopkRule& rule, int threads,
                   std::byte* workspace);

}  // namespace elastron::ops::cpu
