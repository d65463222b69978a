// An objective, as it is known before there is a model or data: which parts train, what its
// configuration must satisfy, its loss and batches for a plan, its figures. With a model it opens a
// workload. train/workload/registry.h lists the objectives; everything else asks these questions
// and never which objective it is.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/problems.h"
#include "data/packed_batch.h"
#include "parallel/mesh.h"
#include "reward/head.h"
#include "router/routed_layer.h"
#include "train/config.h"
#include "train/metrics/figures.h"
#include "train/step/loss.h"
#include "train/workload/workload.h"

namespace elastron::train {

class TrainedModel;

class Objective {
 public:
  virtual ~Objective() = default;

  // Parts that train where train.trainable is empty, and those that it may name.
  virtual bool trains_by_default(const Config& config, Part part) const = 0;
  virtual bool may_train(Part part) const = 0;
  // Contradictions of its own.
  virtual void check(const Config& config, config::Problems& problems) const;

  // A scalar head in place of the LM head.
  virtual bool has_reward_head(const Config& config) const;
  // The path of a trained router whose gates the model has; empty: none.
  virtual std::string stored_router(const Config& config) const;
  // The backbone itself is what is made: it may begin with random weights, and its checkpoints
  // belong to its shapes, not to the weights of a folder.
  virtual bool makes_backbone() const { return false; }
  // The model folder that the end of a run writes beside its last checkpoint; empty: none.
  virtual std::string result_folder(const Config& config) const;
  // Throws UsageError where `elastron eval`, which reads text, is not how it is evaluated.
  virtual void check_text_evaluation() const {}

  // The loss by itself, for a plan, which has no data, and for the workload. `head` is null without
  // a reward head. The arguments must outlive the loss.
  virtual std::unique_ptr<TrainingLoss> make_loss(const Config& config, model::Decoder& decoder,
                                                  reward::RewardHead* head,
                                                  parallel::Communicator& context) const = 0;
  // Appends to a plan's batch one full pack without content (train/workload/planned_pack.h). Unless
  // an objective says otherwise it is documents of `document_tokens` tokens; 0: one, a pack long.
  virtual void add_planned_pack(const Config& config, int64_t document_tokens,
                                data::PackedBatch& batch) const;
  // Its tokens, without making it: data.max_tokens may be far more than a machine holds.
  virtual int64_t planned_pack_tokens(const Config& config) const;
  // Share of sparse heads that is expected where no router decides.
  virtual double expected_sparsity(const Config& config) const;

  virtual ObjectiveFigures figures() const = 0;
  // Gates while it trains; evaluation has the model's own.
  virtual std::vector<router::RoutedLayer> training_gates(TrainedModel& model) const;

  // Collective. Opens the data. All must outlive the workload.
  virtual std::unique_ptr<Workload> open(const Config& config, parallel::Mesh& mesh, Device& device,
                                         Session& session) const = 0;
};

}  // namespace elastron::train
