// A head chooses between two sets of keys with their parameters, one of which its gate selects
// (docs/method.md, Key sets). All sets are causal.
#pragma once
#include <algorithm>
#include <cstdint>

#include "ops/attention/key_set.h"
#include "ops/attention/streaming_rule.h"
#include "ops/attention/tile_plan.h"
#include "ops/block_choice.h"

namespace elastron::ops {

// The keys that one branch of a head reads.
struct KeySet {
  KeySetKind kind = KeySetKind::full;
  StreamingRule rule;    // of a streaming set
  BlockChooser chooser;  // of a set of chosen blocks

  static KeySet full() { return {}; }
  static KeySet streaming(const StreamingRule& rule) {
    return {.kind = KeySetKind::streaming, .rule = rule, .chooser = {}};
  }
  static KeySet blocks(const BlockChooser& chooser) {
    return {.kind = KeySetKind::blocks, .rule = {}, .chooser = chooser};
  }

  // What a query sees depends on its position alone, so that it may be computed once for all
  // sequences that have the tokens up to it: a shared prompt.
  bool by_position_only() const {
    return kind == KeySetKind::full || (kind == KeySetKind::streaming && rule.dense_tail == 0);
  }
  // Pairs of the queries [first, past) and the keys that they see in a sequence of `whole`
  // positions; `expected` is the share of the causal pairs where the choice depends on the input.
  double pairs(int64_t first, int64_t past, int64_t whole, double expected) const {
    switch (kind) {
      case KeySetKind::full: break;
      case KeySetKind::streaming: return double(visible_pairs(rule.within(whole), first, past));
      case KeySetKind::blocks: return chosen_pairs(chooser, first, past, expected);
    }
    return double(causal_pairs(past) - causal_pairs(first));
  }
};

// At most one set of each kind, and a sparse branch that is not full attention: the kernels have
// one rule and one choice (checked by routed_attention).
struct HeadPattern {
  KeySet retrieval = KeySet::full();
  KeySet sparse = KeySet::streaming({});

  const KeySet& of(bool gate) const { return gate ? retrieval : sparse; }
  KeySetPair kinds() const { return {retrieval.kind, sparse.kind}; }
  bool nested() const { return kinds().nested(); }
  bool by_position_only() const {
    return retrieval.by_position_only() && sparse.by_position_only();
  }

  // The streaming set's rule; the default one where there is none.
  StreamingRule rule() const {
    const KeySet* set = find(KeySetKind::streaming);
    return set != nullptr ? set->rule : StreamingRule{};
  }
  // How blocks are chosen; null where no set is of blocks.
  const BlockChooser* chooser() const {
    const KeySet* set = find(KeySetKind::blocks);
    return set != nullptr ? &set->chooser : nullptr;
  }
  // Tokens of a block of the choice; 0 where there is none.
  int64_t block() const { return chooser() != nullptr ? block_of(*chooser()) : 0; }
  // Query heads that read one mask of blocks; 0 where there is none.
  int64_t shared_by(int64_t group) const {
    return chooser() != nullptr ? mask_shared_by(*chooser(), group) : 0;
  }

 private:
  const KeySet* find(KeySetKind kind) const {
    return retrieval.kind == kind ? &retrieval : sparse.kind == kind ? &sparse : nullptr;
  }
};

}  // namespace elastron::ops
