// What the attention kernels get: checked by the front, plain pointers, nothing to allocate.
#pragma once
#include <cstdint>

#include "ops/attention/streaming_rule.h"
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

struct AttentionForwardArgs {
  HeadsView q, k, v;
  const uint8_t* gate = nullptr;  // [sequences, kv_heads]
  Varlen varlen;
  StreamingRule rule;
  AttentionShape shape;
  double scale = 0;
  void* selected = nullptr;  // contiguous [tokens, q_heads, head_dim]
  void* other = nullptr;     // the same, or null: selected branch only
  void* lse = nullptr;       // [tokens, q_heads], accumulator type
};

struct AttentionBackwardArgs {
  HeadsView q, k, v, d_out;
  const uint8_t* gate = nullptr;
  Varlen varlen;
  StreamingRule rule;
  AttentionShape shape;
  double scale = 0;
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
