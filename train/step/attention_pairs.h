// Pairs of query and key that attention works on, before the gates are known or by the gates.
#pragma once
#include <cstdint>
#include <vector>

#include "data/packed_batch.h"
#include "router/config.h"

namespace elastron::train {

// The work that attention has for a document.
struct DocumentWork {
  int64_t longest = 0;  // tokens of a sequence, with its prompt
  double pairs = 0;     // causal pairs of query and key
};
std::vector<DocumentWork> document_work(const data::PackedBatch& batch);

// Shares of a document's causal pairs: of the two branches, of the selected one where a share `msr`
// of the heads is sparse, and of both branches together.
struct PairShares {
  double retrieval = 1, sparse = 1, selected = 1, both = 1;
};
// xattention: share that XAttention's blocks hold, which depends on the input.
PairShares pair_shares(const router::RouterConfig& router, int64_t document_tokens, double msr,
                       double xattention);

}  // namespace elastron::train
