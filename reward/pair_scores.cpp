#include "reward/pair_scores.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "ops/elementwise.h"

namespace elastron::reward {

double PairScore::mean_rejected() const {
  return std::accumulate(rejected.begin(), rejected.end(), 0.0) / double(rejected.size());
}

std::vector<PairScore> head_scores(const RewardHead& head, const Tensor& hidden,
                                   const data::PackedBatch& batch, RewardHead::Saved& saved) {
  std::vector<int32_t> rows;
  for (const data::PackedPair& pair : batch.pairs) {
    rows.push_back(pair.chosen);
    rows.insert(rows.end(), pair.rejected.begin(), pair.rejected.end());
  }
  const auto values = ops::cast(head.forward(hidden, rows, saved), DType::f64).to_vector<double>();
  std::vector<PairScore> scores;
  size_t at = 0;
  for (const data::PackedPair& pair : batch.pairs) {
    PairScore& score = scores.emplace_back();
    score.chosen = values[at++];
    for (size_t r = 0; r < pair.rejected.size(); ++r) score.rejected.push_back(values[at++]);
  }
  return scores;
}

int64_t sequence_of(const data::PackedBatch& batch, int32_t last_token) {
  const auto after = std::ranges::upper_bound(batch.cu_seqlens, last_token);
  return after - batch.cu_seqlens.begin() - 1;
}

std::vector<PairScore> likelihood_scores(model::Decoder& decoder, const Tensor& hidden,
                                         const model::DeviceBatch& batch, int64_t chunk_rows) {
  const data::PackedBatch& host = *batch.host;
  const auto loss = decoder.loss(hidden, batch, {.per_row = true, .chunk_rows = chunk_rows});
  std::vector<double> sum(size_t(host.sequences()), 0.0), count(size_t(host.sequences()), 0.0);
  for (size_t i = 0; i < loss.rows.size(); ++i) {
    const auto s = size_t(sequence_of(host, loss.rows[i]));
    sum[s] -= loss.row_loss[i];
    count[s] += 1;
  }
  const auto mean = [&](int32_t last_token) {
    const auto s = size_t(sequence_of(host, last_token));
    ELASTRON_CHECK(count[s] > 0, "a response has labels");
    return sum[s] / count[s];
  };
  std::vector<PairScore> scores;
  for (const data::PackedPair& pair : host.pairs) {
    PairScore& score = scores.emplace_back();
    score.chosen = mean(pair.chosen);
    for (const int32_t row : pair.rejected) score.rejected.push_back(mean(row));
  }
  return scores;
}

int64_t whole_length(const data::PackedBatch& batch, int32_t last_token) {
  const int64_t s = sequence_of(batch, last_token);
  return batch.offset(s) + batch.length(s);
}

JudgedPair judged(const data::PackedBatch& batch, size_t pair, const PairScore& score) {
  const data::PackedPair& rows = batch.pairs[pair];
  JudgedPair out{.chosen = score.chosen,
                 .rejected = score.mean_rejected(),
                 .tokens_chosen = whole_length(batch, rows.chosen)};
  for (const int32_t row : rows.rejected) {
    out.tokens_rejected = std::max(out.tokens_rejected, whole_length(batch, row));
  }
  return out;
}

}  // namespace elastron::reward
