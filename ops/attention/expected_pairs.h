// Pairs of query and key that attention is expected to work on: exact where a mask follows from
// positions, by AttentionExpectations where it follows from the input.
#pragma once
#include <algorithm>

#include "ops/attention/expectations.h"
#include "ops/head_pattern.h"
#include "ops/varlen.h"

namespace elastron::ops {

// Counts of one query head, summed over the sequences.
struct ExpectedPairs {
  double causal = 0;                 // all
  double retrieval = 0, sparse = 0;  // of the branches
  double both = 0;                   // that the two branches read together
  double selected = 0;               // of the branch that a gate selects, as a mean over the heads
};

inline ExpectedPairs expected_pairs(const Varlen& varlen, const HeadPattern& pattern,
                                    const AttentionExpectations& e) {
  ExpectedPairs pairs;
  for (int64_t s = 0; s < varlen.sequences(); ++s) {
    const int64_t first = varlen.offset(s), past = first + varlen.length(s);
    const auto of = [&](const KeySet& set) {
      return set.pairs(first, past, varlen.whole_length(s), e.chosen);
    };
    pairs.causal += of(KeySet::full());
    pairs.retrieval += of(pattern.retrieval);
    pairs.sparse += of(pattern.sparse);
  }
  // Where one branch's keys hold the other's, both take no more than the larger.
  pairs.both = pattern.nested() ? std::max(pairs.retrieval, pairs.sparse)
                                : std::min(pairs.retrieval + pairs.sparse, pairs.causal);
  pairs.selected = (1 - e.sparse_heads) * pairs.retrieval + e.sparse_heads * pairs.sparse;
  return pairs;
}

}  // namespace elastron::ops
