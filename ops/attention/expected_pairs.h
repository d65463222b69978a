// Pairs of query and key that attention is expected to work on: exact where a mask follows from
// positions, by AttentionExpectations where it follows from the input.
#pragma once
#include <algorithm>

#include "ops/attention/attention_mode.h"
#include "ops/attention/expectations.h"
#include "ops/attention/streaming_rule.h"
#include "ops/varlen.h"

namespace elastron::ops {

// Of one query head, summed over the sequences.
struct ExpectedPairs {
  double causal = 0;                 // all
  double retrieval = 0, sparse = 0;  // of the branches
  double both = 0;                   // that the two branches read together
  double selected = 0;               // of the branch that a gate selects, as a mean over the heads
};

inline ExpectedPairs expected_pairs(const Varlen& varlen, AttentionMode mode,
                                    const StreamingRule& rule, const AttentionExpectations& e) {
  double causal = 0, streaming = 0;
  for (int64_t s = 0; s < varlen.sequences(); ++s) {
    const int64_t first = varlen.offset(s), past = first + varlen.length(s);
    causal += double(causal_pairs(past) - causal_pairs(first));
    streaming += double(visible_pairs(rule.within(varlen.whole_length(s)), first, past));
  }
  const auto of = [&](KeySet set) {
    switch (set) {
      case KeySet::all: break;
      case KeySet::streaming: return streaming;
      case KeySet::blocks: return e.chosen * causal;
    }
    return causal;
  };
  const double retrieval = of(key_set(mode, true)), sparse = of(key_set(mode, false));
  // Where one branch's keys hold the other's, both take no more than the larger.
  const bool apart = mode == AttentionMode::xa_ssa;
  return {.causal = causal,
          .retrieval = retrieval,
          .sparse = sparse,
          .both = apart ? std::min(retrieval + sparse, causal) : std::max(retrieval, sparse),
          .selected = (1 - e.sparse_heads) * retrieval + e.sparse_heads * sparse};
}

}  // namespace elastron::ops
