// Objectives on text: the cross-entropy of labels, on documents.
#pragma once
#include <memory>

#include "train/session.h"
#include "train/workload/objective.h"

namespace elastron::train {

class TextObjective : public Objective {
 public:
  std::unique_ptr<TrainingLoss> make_loss(const Config& config, model::Decoder& decoder,
                                          reward::RewardHead* head,
                                          parallel::Communicator& context) const override;
  ObjectiveFigures figures() const override;
  std::unique_ptr<Workload> open(const Config& config, parallel::Mesh& mesh, Device& device,
                                 Session& session) const override;
};

class TextWorkload : public Workload {
 public:
  TextWorkload(const Config& config, parallel::Mesh& mesh, Device& device, Session& session);

  const data::BatchSource& source() const override { return *source_; }
  TrainingLoss& loss() override { return *loss_; }
  Evaluated evaluate(const std::function<void()>& beat) override;

 protected:
  const Config& config_;
  parallel::Mesh& mesh_;
  Device& device_;
  Session& session_;

 private:
  std::unique_ptr<TrainingLoss> loss_;
  std::unique_ptr<data::PackSource> source_, evaluation_;
};

}  // namespace elastron::train
