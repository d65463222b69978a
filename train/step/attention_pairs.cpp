#include "train/step/attention_pairs.h"

#include <algorithm>

#include "ops/attention/expected_pairs.h"

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
  if (document_tokens == 0) return {};
  const int32_t bounds[] = {0, int32_t(document_tokens)};
  const auto pairs = ops::expected_pairs({.cu_seqlens = bounds}, router.head_pattern(),
                                         {.sparse_heads = msr, .chosen = xattention, .means = {}});
  return {.retrieval = pairs.retrieval / pairs.causal,
          .sparse = pairs.sparse / pairs.causal,
          .selected = pairs.selected / pairs.causal,
          .both = pairs.both / pairs.causal};
}

}  // namespace elastron::train
