// Pairs: reward training.
#pragma once
#include <memory>
#include <optional>

#include "reward/figures.h"
#include "reward/pair_source.h"
#include "train/step/reward_loss.h"
#include "train/workload.h"

namespace elastron::train {

// Mean and deviation of all rewards of the last evaluation: kept with a checkpoint, applied in
// inference only (docs/method.md, Normalised rewards).
struct RewardScale {
  double mean = 0, deviation = 1;

  double apply(double reward) const { return (reward - mean) / deviation; }
  void add_to(NamedValues& values) const;
  // Nothing where the values have none.
  static std::optional<RewardScale> from(const NamedValues& values);
};

class RewardWorkload final : public Workload {
 public:
  RewardWorkload(const Config& config, parallel::Mesh& mesh, Device& device, Session& session);

  const data::BatchSource& source() const override { return *source_; }
  TrainingLoss& loss() override { return loss_; }
  Evaluated evaluate(const std::function<void()>& beat) override;
  void add_state(NamedValues& values) const override;
  void restore(const NamedValues& values) override;

 private:
  const Config& config_;
  parallel::Mesh& mesh_;
  Device& device_;
  Session& session_;
  RewardLoss loss_;
  std::unique_ptr<data::BatchSource> source_, evaluation_;
  std::optional<RewardScale> scale_;
};

// What pair sources need of the model.
reward::PairModel pair_model(const Config& config, Session& session);

}  // namespace elastron::train
