// CPU back end of XAttention's choice (ops/block_choice.h). Checks nothing.
#pragma once
#include <cstddef>
#include <span>

#include "ops/attention/choice_args.h"

namespace elastron::ops::cpu {

// Bytes of scratch one thread needs, a multiple of 64, for sequences of at most `longest` keys.
size_t xattention_workspace(const XAttentionRule& rule, int64_t head_dim, int64_t longest,
                            size_t accumulator_bytes);

// Storage: double, float or bf16. One slice of `workspace` per thread.
template <class Storage>
void choose_blocks(const BlockChoiceArgs& args, const XAttentionRule& rule, int threads,
                   std::byte* workspace);

// The blocks that a query block reads, by the masses (mass_units) of the blocks before it and its
// own, which is the last: set(J) is called for each, in no order. `lagging`: the published code's
// rule for the first chunk (docs/method.md, First chunk).
template <class Set>
void select_blocks(std::span<const int64_t> masses, int64_t need, bool lagging, const Set& set);

}  // namespace elastron::ops::cpu

#include "ops/cpu/xattention_select.h"
