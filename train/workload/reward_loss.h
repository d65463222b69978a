// Pairwise losses as a training step's: Bradley-Terry on the scalar head, or the reference-free
// form on the responses' likelihood (docs/method.md, Pair losses).
#pragma once
#include <vector>

#include "reward/config.h"
#include "reward/head.h"
#include "reward/pair_scores.h"
#include "train/metrics/sums.h"
#include "train/step/loss.h"

namespace elastron::train {

// Sums over pairs.
struct PairSums {
  double pairs = 0;
  double right = 0;                              // strictly: a tie is wrong
  double chosen = 0, rejected = 0, squares = 0;  // of the rewards; squares of both

  double accuracy() const { return mean(right); }
  double margin_mean() const { return mean(chosen - rejected); }
  double chosen_mean() const { return mean(chosen); }
  double rejected_mean() const { return mean(rejected); }
  double deviation() const;  // over all rewards, of the sample (n - 1)

 private:
  double mean(double sum) const { return pairs > 0 ? sum / pairs : 0.0; }
};

class RewardLoss final : public TrainingLoss {
 public:
  // `head` is null for reward.loss: simpo. Batches are what the ranks of `context` have of them.
  // All must outlive the loss.
  RewardLoss(const reward::RewardConfig& config, model::Decoder& decoder, reward::RewardHead* head,
             parallel::Communicator& context)
      : config_(config), decoder_(decoder), head_(head), context_(context) {}

  int64_t terms(const data::PackedBatch& batch) const override {
    return int64_t(batch.pairs.size());
  }
  int64_t labels(const data::PackedBatch& batch) const override { return batch.labels(); }
  Value evaluate(const Tensor& hidden, const model::DeviceBatch& batch, double scale,
                 bool need_hidden, const std::function<void(Parameter&)>& on_gradient) override;
  std::vector<double> sums() const override {
    const auto all = numbers(sums_);
    return {all.begin(), all.end()};
  }
  void reset() override { sums_ = {}; }

 private:
  Value bradley_terry(const Tensor& hidden, const model::DeviceBatch& batch, double scale,
                      bool need_hidden, const std::function<void(Parameter&)>& on_gradient);
  Value simpo(const Tensor& hidden, const model::DeviceBatch& batch, double scale);
  void count(double loss, double chosen, double rejected, Value& value);

  const reward::RewardConfig& config_;
  model::Decoder& decoder_;
  reward::RewardHead* head_;
  parallel::Communicator& context_;
  PairSums sums_;
};

}  // namespace elastron::train
