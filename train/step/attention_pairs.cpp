#include "train/step/attention_pairs.h"

#include <algorithm>

namespace elastron::train {

std::vector<DocumentWork> document_work(const data::PackedBatch& batch) {
  std::vector<DocumentWork> work(size_t(batch.documents()));
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    DocumentWork& w = work[size_t(batch.document(s))];
    const int64_t before = batch.offset(s), own = batch.length(s);
    w.longest = std::max(w.longest, before + own);
    w.pairs += double(own) * double(before) + double(own) * double(own + 1) / 2;
  }
  return work;
}

PairShares pair_shares(const router::RouterConfig& router, int64_t document_tokens, double msr,
                       double xattention) {
  const ops::HeadPattern pattern = router.head_pattern();
  const auto share = [&](const ops::KeySet& set) {
    const auto all = double(ops::causal_pairs(document_tokens));
    return all > 0 ? set.pairs(document_tokens, xattention) / all : 1.0;
  };
  PairShares shares{.retrieval = share(pattern.retrieval), .sparse = share(pattern.sparse)};
  shares.selected = (1 - msr) * shares.retrieval + msr * shares.sparse;
  // Where one branch's keys hold the other's, both take no more than the larger.
  shares.both = pattern.nested() ? std::max(shares.retrieval, shares.sparse)
                                 : std::min(shares.retrieval + shares.sparse, 1.0);
  return shares;
}

}  // namespace elastron::train
