#include "train/step/attention_pairs.h"

#include <algorithm>

#include "router/sparsity.h"

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
  const double streaming = 1 - router::skipped_share_area(router.streaming_rule(), document_tokens);
  PairShares shares;
  switch (router.mode) {
    case router::Mode::fa_ssa: shares.sparse = streaming; break;
    case router::Mode::fa_xa: shares.sparse = xattention; break;
    case router::Mode::xa_ssa:
      shares.retrieval = xattention;
      shares.sparse = streaming;
      break;
  }
  shares.selected = (1 - msr) * shares.retrieval + msr * shares.sparse;
  // Where one branch's keys hold the other's, both take no more than the larger.
  shares.both = router.mode == router::Mode::xa_ssa
                    ? std::min(shares.retrieval + shares.sparse, 1.0)
                    : std::max(shares.retrieval, shares.sparse);
  return shares;
}

}  // namespace elastron::train
