// Scores of a source's pairs, shared among the data ranks. Evaluation while training and
// eval-reward rest on them.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "data/source.h"
#include "parallel/mesh.h"
#include "reward/head.h"
#include "reward/pair_scores.h"
#include "router/routed_layer.h"
#include "train/config.h"

namespace elastron::train {

struct ScoredPair {
  reward::JudgedPair figures;
  double loss = 0;  // as in training
  int32_t kind_id = 0;
  double msr = 0;
  // With an untrained head beside the trained one.
  double untrained_chosen = 0, untrained_rejected = 0;
};

class PairScorer {
 public:
  // All must outlive the scorer. `head` is null for reward.loss: simpo; `untrained` may be null.
  PairScorer(const Config& config, parallel::Mesh& mesh, Device& device, model::Decoder& decoder,
             std::vector<router::RoutedLayer>& routed, const reward::RewardHead* head,
             const reward::RewardHead* untrained = nullptr)
      : config_(config),
        mesh_(mesh),
        device_(device),
        decoder_(decoder),
        routed_(routed),
        head_(head),
        untrained_(untrained) {}

  // Pairs that share a forward pass: eval.micro_batch neighbours, counted from pack 0, so that a
  // pair's company, and with it every bit of its score, is the same for any number of data ranks.
  int64_t group() const { return config_.eval.micro_batch; }

  // How many of them a source has; the last one may be smaller.
  int64_t groups(const data::BatchSource& source) const {
    return (source.packs() + group() - 1) / group();
  }

  // Collective over the mesh. Scores of the groups' pairs, in the order of `groups`, the same on
  // all ranks. `beat` is called between passes.
  std::vector<ScoredPair> score(const data::BatchSource& source, std::span<const int64_t> groups,
                                const std::function<void()>& beat);

 private:
  std::vector<ScoredPair> pass(const data::BatchSource& source, std::span<const int64_t> packs);
  void judge(const data::PackedPair& packed, const reward::PairScore& score,
             ScoredPair& pair) const;

  const Config& config_;
  parallel::Mesh& mesh_;
  Device& device_;
  model::Decoder& decoder_;
  std::vector<router::RoutedLayer>& routed_;
  const reward::RewardHead* head_;
  const reward::RewardHead* untrained_;
};

}  // namespace elastron::train
