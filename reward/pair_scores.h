// Scores of the responses of a packed batch of pairs: of the scalar head, or mean log-probabilities
// of the responses' tokens. Numbers on the host, the same on all ranks of a tensor group.
#pragma once
#include <cstdint>
#include <map>
#include <vector>

#include "data/packed_batch.h"
#include "model/decoder.h"
#include "parallel/communicator.h"
#include "reward/figures.h"
#include "reward/head.h"

namespace elastron::reward {

// Scores of one pair.
struct PairScore {
  double chosen = 0;
  std::vector<double> rejected;

  double mean_rejected() const;
};

// Ranks of a context group have parts of a batch (data/context_shard.h): who has a row scores it,
// and all get all scores. Both are collective over `context`.

struct HeadScores {
  std::vector<PairScore> pairs;
  // Which of the pairs' responses in order, the chosen one first, were scored here: what the head's
  // backward takes the gradients of.
  std::vector<size_t> own;
};
// hidden [T, E] after the final norm. `saved`: what the head's backward needs, of `own`.
HeadScores head_scores(const RewardHead& head, const Tensor& hidden, const data::PackedBatch& batch,
                       parallel::Communicator& context, RewardHead::Saved& saved);

struct LikelihoodScores {
  std::vector<PairScore> pairs;
  std::vector<double> labels;  // of each response
};
// For batches with labels (PairBatchOptions): mean over each response's labels. Collective over the
// decoder's tensor group too.
LikelihoodScores likelihood_scores(model::Decoder& decoder, const Tensor& hidden,
                                   const model::DeviceBatch& batch,
                                   parallel::Communicator& context);

// The pairs' responses in order, by their sequences in the whole batch.
std::map<int64_t, size_t> responses(const data::PackedBatch& batch);

// The report's figures are made of these; of several rejected responses the mean and the longest.
// `batch`: the whole one.
JudgedPair judged(const data::PackedBatch& batch, size_t pair, const PairScore& score);

}  // namespace elastron::reward
