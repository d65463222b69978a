#include "train/evaluate/pair_scorer.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "train/step/local_batch.h"
#include "train/step/step.h"

namespace elastron::train {

namespace {

// A scored pair as numbers that can be added over ranks, all but one of which have zeros.
constexpr size_t kValues = 9;

std::array<double, kValues> values_of(const ScoredPair& p) {
  return {p.figures.chosen,
          p.figures.rejected,
          double(p.figures.tokens_chosen),
          double(p.figures.tokens_rejected),
          p.loss,
          double(p.kind_id),
          p.msr,
          p.untrained_chosen,
          p.untrained_rejected};
}

ScoredPair from_values(const double* v) {
  return {.figures = {.chosen = v[0],
                      .rejected = v[1],
                      .tokens_chosen = int64_t(v[2]),
                      .tokens_rejected = int64_t(v[3])},
          .loss = v[4],
          .kind_id = int32_t(v[5]),
          .msr = v[6],
          .untrained_chosen = v[7],
          .untrained_rejected = v[8]};
}

}  // namespace

std::vector<ScoredPair> PairScorer::score(const data::BatchSource& source,
                                          std::span<const int64_t> groups,
                                          const std::function<void()>& beat) {
  const size_t rank = size_t(mesh_.data().rank()), ranks = size_t(mesh_.data().size());
  std::vector<double> flat;
  for (size_t g = 0; g < groups.size(); ++g) {
    const int64_t begin = groups[g] * group();
    std::vector<int64_t> packs(size_t(std::min(group(), source.packs() - begin)));
    std::iota(packs.begin(), packs.end(), begin);
    const size_t at = flat.size();
    flat.resize(at + packs.size() * kValues, 0.0);
    if (g % ranks != rank) continue;
    beat();
    auto to = flat.begin() + std::ptrdiff_t(at);
    for (const ScoredPair& pair : pass(source, packs)) {
      to = std::ranges::copy(values_of(pair), to).out;
    }
  }
  mesh_.data().all_reduce_host(std::span<double>(flat), parallel::ReduceOp::sum);
  std::vector<ScoredPair> pairs;
  for (size_t i = 0; i < flat.size(); i += kValues) pairs.push_back(from_values(&flat[i]));
  return pairs;
}

std::vector<ScoredPair> PairScorer::pass(const data::BatchSource& source,
                                         std::span<const int64_t> packs) {
  const data::PackedBatch batch = source.batch(packs);
  // Long pairs: as many tokens at a time as one of them may have.
  if (packs.size() > 1 && batch.tokens() > 2 * config_.data.max_tokens) {
    auto scored = pass(source, packs.first(packs.size() / 2));
    const auto rest = pass(source, packs.subspan(packs.size() / 2));
    scored.insert(scored.end(), rest.begin(), rest.end());
    return scored;
  }
  const LocalBatch local(batch, config_, mesh_, device_, 0, 1.0, /*sample=*/false);
  model::RoutedHeads heads;
  const Tensor hidden =
      decoder_.forward(local.device(), local.router(), routed_, {.heads = &heads});
  const auto& m = decoder_.config();
  const HeadCounts counts = count_heads(
      heads, batch, local.exchange(), config_.router.head_pattern(), m.q_heads / m.kv_heads, mesh_);
  reward::RewardHead::Saved unused;
  const auto by_head = [&](const reward::RewardHead& head) {
    return reward::head_scores(head, hidden, local.own(), mesh_.context(), unused).pairs;
  };
  const auto scores =
      head_ != nullptr ? by_head(*head_)
                       : reward::likelihood_scores(decoder_, hidden, local.device(),
                                                   config_.train.loss.chunk_rows, mesh_.context())
                             .pairs;
  std::vector<reward::PairScore> untrained;
  if (untrained_ != nullptr) untrained = by_head(*untrained_);

  std::vector<ScoredPair> scored;
  for (size_t i = 0; i < scores.size(); ++i) {
    ScoredPair& pair = scored.emplace_back();
    pair.figures = reward::judged(batch, i, scores[i]);
    if (head_ != nullptr) {
      pair.loss = reward::bradley_terry(scores[i].chosen, scores[i].rejected,
                                        config_.reward.margin ? batch.pairs[i].margin : 0.0,
                                        config_.reward.label_smoothing)
                      .value;
    } else {
      const double beta = config_.reward.simpo.beta;
      pair.loss = reward::simpo(scores[i].chosen, scores[i].mean_rejected(),
                                config_.reward.simpo_settings())
                      .value -
                  config_.reward.simpo.nll * scores[i].chosen;
      pair.figures.chosen *= beta;
      pair.figures.rejected *= beta;
    }
    pair.kind_id = batch.kind_ids[i];
    pair.msr = double(counts.documents[i].sparse) / double(m.num_layers * m.kv_heads);
    if (untrained_ != nullptr) {
      pair.untrained_chosen = untrained[i].chosen;
      pair.untrained_rejected = untrained[i].mean_rejected();
    }
  }
  return scored;
}

}  // namespace elastron::train
