#include "reward/pair_scores.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "ops/elementwise.h"

namespace elastron::reward {

double PairScore::mean_rejected() const {
  return std::accumulate(rejected.begin(), rejected.end(), 0.0) / double(rejected.size());
}

namespace {

// Scores of the responses in order, of all ranks, as pairs.
std::vector<PairScore> by_pair(const std::vector<double>& scores, const data::PackedBatch& batch) {
  std::vector<PairScore> pairs;
  auto next = scores.begin();
  for (const data::PackedPair& pair : batch.pairs) {
    PairScore& score = pairs.emplace_back();
    score.chosen = *next++;
    for (size_t r = 0; r < pair.rejected.size(); ++r) score.rejected.push_back(*next++);
  }
  return pairs;
}

int64_t whole_length(const data::PackedBatch& batch, int64_t sequence) {
  return batch.offset(sequence) + batch.length(sequence);
}

}  // namespace

std::map<int64_t, size_t> responses(const data::PackedBatch& batch) {
  std::map<int64_t, size_t> all;
  for (const data::PackedPair& pair : batch.pairs) {
    all.emplace(pair.chosen, all.size());
    for (const int32_t sequence : pair.rejected) all.emplace(sequence, all.size());
  }
  return all;
}

HeadScores head_scores(const RewardHead& head, const Tensor& hidden, const data::PackedBatch& batch,
                       parallel::Communicator& context, RewardHead::Saved& saved) {
  HeadScores scores;
  const auto all = responses(batch);
  std::vector<int32_t> rows;
  const auto last_rows = batch.last_rows();
  for (const auto& [sequence, response] : all) {
    const auto row = last_rows.find(sequence);
    if (row == last_rows.end()) continue;
    rows.push_back(row->second);
    scores.own.push_back(response);
  }
  const auto own = ops::cast(head.forward(hidden, rows, saved), DType::f64).to_vector<double>();
  std::vector<double> values(all.size(), 0.0);
  for (size_t i = 0; i < own.size(); ++i) values[scores.own[i]] = own[i];
  context.all_reduce_host(std::span<double>(values), parallel::ReduceOp::sum);
  scores.pairs = by_pair(values, batch);
  return scores;
}

LikelihoodScores likelihood_scores(model::Decoder& decoder, const Tensor& hidden,
                                   const model::DeviceBatch& batch,
                                   parallel::Communicator& context) {
  const data::PackedBatch& host = *batch.host;
  const auto loss = decoder.loss(hidden, batch, {.per_row = true});
  const auto all = responses(host);
  // Sums, then counts.
  std::vector<double> sums(2 * all.size(), 0.0);
  for (size_t i = 0; i < loss.rows.size(); ++i) {
    const auto after = std::ranges::upper_bound(host.cu_seqlens, loss.rows[i]);
    const size_t response = all.at(host.whole_sequence(after - host.cu_seqlens.begin() - 1));
    sums[response] -= loss.row_loss[i];
    sums[all.size() + response] += 1;
  }
  context.all_reduce_host(std::span<double>(sums), parallel::ReduceOp::sum);
  const auto middle = sums.begin() + std::ptrdiff_t(all.size());
  LikelihoodScores scores{.pairs = {}, .labels = {middle, sums.end()}};
  std::vector<double> means;
  for (size_t r = 0; r < all.size(); ++r) {
    // Readers leave out rows without any. A plan only writes down what ranks would send, so that
    // labels of a response that is whole on another rank are missing there.
    ELASTRON_CHECK(context.size() > 1 || scores.labels[r] > 0, "a response has labels");
    means.push_back(scores.labels[r] > 0 ? sums[r] / scores.labels[r] : 0.0);
  }
  scores.pairs = by_pair(means, host);
  return scores;
}

JudgedPair judged(const data::PackedBatch& batch, size_t pair, const PairScore& score) {
  const data::PackedPair& sequences = batch.pairs[pair];
  JudgedPair out{.chosen = score.chosen,
                 .rejected = score.mean_rejected(),
                 .tokens_chosen = whole_length(batch, sequences.chosen)};
  for (const int32_t sequence : sequences.rejected) {
    out.tokens_rejected = std::max(out.tokens_rejected, whole_length(batch, sequence));
  }
  return out;
}

}  // namespace elastron::reward
