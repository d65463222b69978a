// Scores of the responses of a packed batch of pairs: of the scalar head, or mean log-probabilities
// of the responses' tokens. Numbers on the host, the same on all ranks of a tensor group.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "data/packed_batch.h"
#include "model/decoder.h"
#include "reward/figures.h"
#include "reward/head.h"

namespace elastron::reward {

// Of one pair.
struct PairScore {
  double chosen = 0;
  std::vector<double> rejected;

  double mean_rejected() const;
};

// hidden [T, E] after the final norm. `saved`: what the head's backward needs; its rows are the
// pairs' in order, the chosen response first.
std::vector<PairScore> head_scores(const RewardHead& head, const Tensor& hidden,
                                   const data::PackedBatch& batch, RewardHead::Saved& saved);

// The sequence of a response, by the row of its last token.
int64_t sequence_of(const data::PackedBatch& batch, int32_t last_token);

// Of batches with labels (PairBatchOptions): mean over each response's labels. Collective over the
// decoder's tensor group.
std::vector<PairScore> likelihood_scores(model::Decoder& decoder, const Tensor& hidden,
                                         const model::DeviceBatch& batch, int64_t chunk_rows);

// Tokens of a response behind its whole prompt.
int64_t whole_length(const data::PackedBatch& batch, int32_t last_token);
// What the report's figures are made of; of several rejected responses the mean and the longest.
JudgedPair judged(const data::PackedBatch& batch, size_t pair, const PairScore& score);

}  // namespace elastron::reward
