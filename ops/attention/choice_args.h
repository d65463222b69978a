// The arguments of the back ends of ops/block_choice.h: checked by the front, plain pointers.
#pragma once
#include <cstdint>
#include <span>

#include "ops/attention/args.h"
#include "ops/block_choice.h"
#include "ops/detail/xattention_math.h"

namespace elastron::ops {

struct BlockChoiceArgs {
  HeadsView q, k;
  const uint8_t* gate = nullptr;  // [sequences, kv_heads], where the back end reads
  Varlen varlen;
  AttentionShape shape;
  double scale = 0;
  int64_t block = 0, shared_by = 1;  // tokens of a block, query heads that share a mask
  ChoiceFor whose = ChoiceFor::all;
  uint32_t* rows = nullptr;  // [q_heads / shared_by, starts.back()], zeros
  uint32_t* columns = nullptr;
  std::span<const int32_t> starts;  // block_choice_starts, on the host
};

// The same, as XAttention's back ends see them.
struct XAttentionArgs : BlockChoiceArgs {
  XAttentionRule rule;

  XAttentionArgs(const BlockChoiceArgs& args, const XAttentionRule& by)
      : BlockChoiceArgs(args), rule(by) {}

  int64_t groups_of_block() const { return rule.block / rule.stride; }
  // Groups of a sequence's queries: [first, past), counted from its first key.
  int64_t first_group(int64_t s) const { return varlen.offset(s) / rule.stride; }
  int64_t past_group(int64_t s) const {
    return varlen.length(s) == 0 ? first_group(s)
                                 : detail::groups_of(varlen.key_length(s), rule.stride);
  }
  // Query blocks that begin before this position are chosen by the published code's rule for the
  // first chunk, which depends on the batch's first sequence (docs/method.md, First chunk).
  int64_t lagging_tokens() const {
    if (!rule.reference || varlen.sequences() == 0) return 0;
    return detail::reference_chunk(varlen.first_whole_length >= 0 ? varlen.first_whole_length
                                                                  : varlen.whole_length(0));
  }
};

}  // namespace elastron::ops
