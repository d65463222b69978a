// The pairs of attention a head chooses from, and what one head's choice makes it read
// (docs/method.md, Modes).
#pragma once
#include <cstdint>

#include "core/host_device.h"

namespace elastron::ops {

// Retrieval branch (gate z = 1) and sparse branch (z = 0): full attention (FA), XAttention (XA) and
// streaming sparse attention (SSA).
enum class AttentionMode : uint8_t { fa_ssa, fa_xa, xa_ssa };

// Whether a branch reads blocks chosen from the input; their masks are per query head.
constexpr bool has_blocks(AttentionMode mode) { return mode != AttentionMode::fa_ssa; }

// The keys that one branch of a head reads, all of them causal.
enum class KeySet : uint8_t {
  all,
  streaming,  // ops/attention/streaming_rule.h
  blocks,     // ops/attention/block_choice.h
};
ELASTRON_HD constexpr KeySet key_set(AttentionMode mode, bool gate) {
  if (gate) return mode == AttentionMode::xa_ssa ? KeySet::blocks : KeySet::all;
  return mode == AttentionMode::fa_xa ? KeySet::blocks : KeySet::streaming;
}

}  // namespace elastron::ops
