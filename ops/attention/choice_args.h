// What the back ends of ops/xattention.h get: checked by the front, plain pointers.
#pragma once
#include <cstdint>
#include <span>

#include "ops/attention/args.h"
#include "ops/xattention.h"

namespace elastron::ops {

struct BlockChoiceArgs {
  HeadsView q, k;
  const uint8_t* gate = nullptr;  // [sequences, kv_heads], where the back end reads
  Varlen varlen;
  AttentionShape shape;
  double scale = 0;
  XAttentionRule rule;
  ChoiceFor whose = ChoiceFor::all;
  uint32_t* rows = nullptr;  // [q_heads, starts.back()], zeros
  uint32_t* columns = nullptr;
  std::span<const int32_t> starts;  // block_choice_starts, on the host

  int64_t groups_of_block() const { return rule.block / rule.stride; }
};

}  // namespace elastron::ops
