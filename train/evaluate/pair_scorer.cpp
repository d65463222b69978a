#include "train/evaluate/pair_scorer.h"

#include <algorithm>
#include <numeric>

#include "train/metrics/reduce.h"
#include "train/step/head_counts.h"
#include "train/step/local_batch.h"

namespace elastron::train {

namespace {

// A scored pair as ranks add it up: all but one of them have zeros.
struct PairNumbers {
  double chosen = 0, rejected = 0, tokens_chosen = 0, tokens_rejected = 0;
  double loss = 0, kind_id = 0, msr = 0;
  double untrained_chosen = 0, untrained_rejected = 0;

  static PairNumbers of(const ScoredPair& p) {
    return {.chosen = p.figures.chosen,
            .rejected = p.figures.rejected,
            .tokens_chosen = double(p.figures.tokens_chosen),
            .tokens_rejected = double(p.figures.tokens_rejected),
            .loss = p.loss,
            .kind_id = double(p.kind_id),
            .msr = p.msr,
            .untrained_chosen = p.untrained_chosen,
            .untrained_rejected = p.untrained_rejected};
  }
  ScoredPair pair() const {
    return {.figures = {.chosen = chosen,
                        .rejected = rejected,
                        .tokens_chosen = int64_t(tokens_chosen),
                        .tokens_rejected = int64_t(tokens_rejected)},
            .loss = loss,
            .kind_id = int32_t(kind_id),
            .msr = msr,
            .untrained_chosen = untrained_chosen,
            .untrained_rejected = untrained_rejected};
  }
};

}  // namespace

std::vector<ScoredPair> PairScorer::score(const data::BatchSource& source,
                                          std::span<const int64_t> groups,
                                          const std::function<void()>& beat) {
  const size_t rank = size_t(mesh_.data().rank()), ranks = size_t(mesh_.data().size());
  std::vector<PairNumbers> sums;
  for (size_t g = 0; g < groups.size(); ++g) {
    const int64_t begin = groups[g] * group();
    std::vector<int64_t> packs(size_t(std::min(group(), source.packs() - begin)));
    std::iota(packs.begin(), packs.end(), begin);
    auto to = sums.insert(sums.end(), packs.size(), PairNumbers{});
    if (g % ranks != rank) continue;
    beat();
    for (const ScoredPair& pair : pass(source, packs)) *to++ = PairNumbers::of(pair);
  }
  all_reduce_sums(sums, mesh_.data());
  std::vector<ScoredPair> pairs;
  for (const PairNumbers& numbers : sums) pairs.push_back(numbers.pair());
  return pairs;
}

// Loss and rewards as in training.
void PairScorer::judge(const data::PackedPair& packed, const reward::PairScore& score,
                       ScoredPair& pair) const {
  const reward::RewardConfig& config = config_.reward;
  if (head_ != nullptr) {
    pair.loss = reward::bradley_terry(score.chosen, score.rejected,
                                      config.margin ? packed.margin : 0.0, config.label_smoothing)
                    .value;
    return;
  }
  pair.loss = reward::simpo(score.chosen, score.mean_rejected(), config.simpo_settings()).value -
              config.simpo.nll * score.chosen;
  pair.figures.chosen *= config.simpo.beta;
  pair.figures.rejected *= config.simpo.beta;
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
      head_ != nullptr
          ? by_head(*head_)
          : reward::likelihood_scores(decoder_, hidden, local.device(), mesh_.context()).pairs;
  std::vector<reward::PairScore> untrained;
  if (untrained_ != nullptr) untrained = by_head(*untrained_);

  std::vector<ScoredPair> scored;
  for (size_t i = 0; i < scores.size(); ++i) {
    ScoredPair& pair = scored.emplace_back();
    pair.figures = reward::judged(batch, i, scores[i]);
    judge(batch.pairs[i], scores[i], pair);
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
