// Judged pairs in one packed batch. Shared: a pair's prompt stands once, and each response is a
// sequence behind it; otherwise every response stands behind a prompt of its own. Scores and
// gradients are the same. A pair is one document: its routing is decided on the prompt.
#pragma once
#include <cstdint>
#include <vector>

#include "data/packed_batch.h"
#include "reward/overlong.h"

namespace elastron::reward {

struct PairDocument {
  FittedPair ids;
  double margin = 0;
  int32_t kind_id = 0;
  int64_t sample_id = 0;
};

struct PairBatchOptions {
  bool share = true;
  bool labels = false;  // predict the responses' tokens (reward.loss: simpo)
  int32_t task_id = 0;
};

// Each pair is a pack; they are the first of a step.
data::PackedBatch make_pair_batch(const std::vector<const PairDocument*>& pairs,
                                  const PairBatchOptions& options);

}  // namespace elastron::reward
