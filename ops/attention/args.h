// The arguments of the attention kernels: checked by the front, plain pointers, nothing to
// allocate.
#pragma once
#include <algorithm>
#include <cstdint>

#include "ops/attention/attention_kernels.h"
#include "ops/attention/key_tiles.h"
#include "ops/attention/tile_plan.h"
#include "ops/kernel_families.h"
#include "ops/varlen.h"

namespace elastron::ops {

// Heads of one token are contiguous; token_stride in elements.
struct HeadsView {
  const void* data = nullptr;
  int64_t token_stride = 0;
};

struct AttentionShape {
  int64_t q_heads = 0, kv_heads = 0, head_dim = 0;
  int64_t group() const { return q_heads / kv_heads; }
};

// The arguments that forward and backward have in common.
struct AttentionArgs {
  HeadsView q, k, v;
  const uint8_t* gate = nullptr;  // [sequences, kv_heads]
  Varlen varlen;
  KeySetPair sets;
  StreamingRule rule;      // of the streaming set; not yet within() a sequence
  BlockChoiceView choice;  // of the set of blocks
  AttentionShape shape;
  double scale = 0;
  AttentionKernels kernels = AttentionKernels::hopper;  // the fastest that may be used
  KernelFamilies forbidden;                             // of the device

  // The rule and the key tiles of the queries of sequence `s` that begin at position `begin`, for
  // the query head `head` (the first of its tile).
  StreamingRule rule_of(int64_t s) const { return rule.within(varlen.whole_length(s)); }
  KeyPattern key_pattern(int64_t s, int64_t head, int64_t begin) const {
    KeyPattern pattern{.sets = sets, .rule = rule_of(s)};
    if (sets.has(KeySetKind::blocks)) {
      pattern.chosen =
          choice.row(head, s, varlen.key_length(s), (begin - varlen.offset(s)) / choice.block);
      pattern.block = choice.block;
    }
    return pattern;
  }
  // The other way round, for the selected branch of a head and the keys that begin at `key`.
  KeySetPattern key_set_pattern(int64_t s, int64_t head, int64_t key) const {
    KeySetPattern pattern{.set = sets.of(open(s, head / shape.group())), .rule = rule_of(s)};
    if (pattern.set == KeySetKind::blocks) {
      pattern.column = choice.column(head, s, varlen.length(s), key / choice.block);
      pattern.block = choice.block;
    }
    return pattern;
  }
  // Whether the retrieval branch is selected: where the host can read the gate.
  bool open(int64_t s, int64_t kv_head) const { return gate[s * shape.kv_heads + kv_head] != 0; }

  // Tokens at the beginning of a sequence that every query of some branch reads.
  int64_t first_tokens() const {
    const int64_t sink = sets.has(KeySetKind::streaming) ? rule.sink_tokens() : 0;
    return sets.has(KeySetKind::blocks) ? std::max<int64_t>(sink, choice.first_tokens) : sink;
  }

  // Query heads of a tile, side by side: those that share keys and mask.
  int64_t tile_heads() const {
    return heads_of_tile(shape.group(), sets.has(KeySetKind::blocks) ? choice.shared_by : 0);
  }
};

struct AttentionForwardArgs : AttentionArgs {
  void* selected = nullptr;   // contiguous [tokens, q_heads, head_dim]
  void* other = nullptr;      // the same, or null: selected branch only
  void* lse = nullptr;        // [tokens, q_heads], accumulator type
  void* lse_other = nullptr;  // the same, or null
  // [sequences, kv_heads], zeros: tiles of 64 rows and 64 keys that the selected branch visits when
  // it runs alone are added. Or null.
  int64_t* visited = nullptr;
};

struct AttentionBackwardArgs : AttentionArgs {
  HeadsView d_out;
  const void* selected = nullptr;
  const void* other = nullptr;  // null unless d_gate
  const void* lse = nullptr;
  void* row_dots = nullptr;  // [tokens, q_heads], accumulator type: <dO, O_selected>, filled here
  void* dq = nullptr;        // contiguous, storage type; null: only the gate's gradient
  void* dq_sums = nullptr;   // the same in the accumulator type; dq itself where they are one
  void* dk = nullptr;        // contiguous, storage type
  void* dv = nullptr;
  void* d_gate = nullptr;  // [sequences, kv_heads], accumulator type, or null
};

}  // namespace elastron::ops
