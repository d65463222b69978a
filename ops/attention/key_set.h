// The kinds of key sets and the pair of them that a head chooses from, as the kernels see them
// (docs/method.md, Key sets). ops/head_pattern.h has the sets with their parameters.
#pragma once
#include <cstdint>

#include "core/host_device.h"

namespace elastron::ops {

// The keys that one branch of a head reads, all of them causal.
enum class KeySetKind : uint8_t {
  full,
  streaming,  // ops/attention/streaming_rule.h
  blocks,     // chosen from the input: ops/attention/block_bits.h
};

// Whether a set of kind `a` is part of one of kind `b`, whatever the input. Two sets of one pair
// that are of one kind are one set.
ELASTRON_HD constexpr bool is_subset(KeySetKind a, KeySetKind b) {
  return b == KeySetKind::full || a == b;
}

// Retrieval branch (gate z = 1) and sparse branch (z = 0).
struct KeySetPair {
  KeySetKind retrieval = KeySetKind::full, sparse = KeySetKind::streaming;

  ELASTRON_HD constexpr KeySetKind of(bool gate) const { return gate ? retrieval : sparse; }
  ELASTRON_HD constexpr bool has(KeySetKind kind) const {
    return retrieval == kind || sparse == kind;
  }
  // One pass over the keys then gives both outputs: the sparse branch's keys first.
  ELASTRON_HD constexpr bool nested() const { return is_subset(sparse, retrieval); }
  bool operator==(const KeySetPair&) const = default;
};

}  // namespace elastron::ops
