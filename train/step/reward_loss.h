// Pairwise losses as a training step's: Bradley-Terry on the scalar head, or the reference-free
// form on the responses' likelihood. (docs/method.md, Pair losses)
#pragma once
#include <array>

#include "reward/config.h"
#include "reward/head.h"
#include "reward/pair_scores.h"
#include "train/step/loss.h"

namespace elastron::train {

// Of a step's pairs, over all ranks.
struct RewardFigures {
  int64_t pairs = 0;
  double accuracy = 0;  // strict: a tie is wrong
  double margin_mean = 0;
  double reward_chosen_mean = 0, reward_rejected_mean = 0;
  double reward_std = 0;  // over all rewards, of the sample
};

class RewardLoss final : public TrainingLoss {
 public:
  // `head` is null for reward.loss: simpo. Batches are what the ranks of `context` have of them.
  // All must outlive the loss.
  RewardLoss(const reward::RewardConfig& config, model::Decoder& decoder, reward::RewardHead* head,
             int64_t chunk_rows, parallel::Communicator& context)
      : config_(config),
        decoder_(decoder),
        head_(head),
        chunk_rows_(chunk_rows),
        context_(context) {}

  int64_t terms(const data::PackedBatch& batch) const override {
    return int64_t(batch.pairs.size());
  }
  int64_t labels(const data::PackedBatch& batch) const override { return batch.labels(); }
  Value evaluate(const Tensor& hidden, const model::DeviceBatch& batch, double scale,
                 bool need_hidden, const std::function<void(Parameter&)>& on_gradient) override;
  std::span<double> sums() override { return sums_; }
  static RewardFigures figures(std::span<const double> sums);

 private:
  Value bradley_terry(const Tensor& hidden, const model::DeviceBatch& batch, double scale,
                      bool need_hidden, const std::function<void(Parameter&)>& on_gradient);
  Value simpo(const Tensor& hidden, const model::DeviceBatch& batch, double scale);
  void count(double loss, double chosen, double rejected, Value& value);

  const reward::RewardConfig& config_;
  model::Decoder& decoder_;
  reward::RewardHead* head_;
  int64_t chunk_rows_;
  parallel::Communicator& context_;
  // pairs, right, chosen, rejected, squares of both
  std::array<double, 5> sums_{};
};

}  // namespace elastron::train
