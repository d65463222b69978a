// What a configuration makes of a model's shapes: the decoder with its adapters, the reward head,
// the routers and their objective, on one rank of a mesh. As they are made: nothing is loaded.
#pragma once
#include <memory>
#include <vector>

#include "model/decoder.h"
#include "parallel/mesh.h"
#include "reward/head.h"
#include "router/forced_gate.h"
#include "router/layer_routers.h"
#include "router/objective.h"
#include "train/config.h"
#include "train/step/loss.h"

namespace elastron::train {

model::DecoderOptions decoder_options(const Config& config, bool training);

// Whether anything below the loss trains: then there is a backward pass.
bool trains_decoder(const Config& config);

// Who shares the optimiser's state: null, or a group. Only that of a whole backbone is worth it.
parallel::Communicator* optimizer_group(const Config& config, const parallel::Mesh& mesh);

class TrainedModel {
 public:
  // Collective over nothing. `training`: what trains gets gradients. Adapters, head, routers and
  // multipliers are as they are drawn, the backbone's weights are not filled. All must outlive it.
  // Throws UsageError where the tensor group does not divide the model.
  TrainedModel(const Config& config, const model::ModelConfig& model, bool training,
               const parallel::Mesh& mesh, Device& device);

  model::Decoder& decoder() { return decoder_; }
  router::SparsityObjective* objective() { return objective_.get(); }  // null without routers
  reward::RewardHead* head() { return head_.get(); }                   // null without one
  router::LayerRouters* routers() { return routers_.get(); }           // null without any

  // Everything with a name: backbone, adapters, head, routers, multipliers.
  ParameterList parameters();
  // Those that train, in a fixed order: what a checkpoint holds.
  ParameterList objective_parameters();

  // What the configuration's objective minimises.
  std::unique_ptr<TrainingLoss> make_loss();

  // Gates for the layers: by the routers (or masks), by what `force` says, random ones for
  // pretraining, or full attention everywhere.
  std::vector<router::RoutedLayer> routed_by_router() { return routers_->routed(); }
  std::vector<router::RoutedLayer> routed_by_gates(const router::StaticGates& gates) const;
  std::vector<router::RoutedLayer> routed_at_random() const;
  std::vector<router::RoutedLayer> routed_fully() const;
  // What training uses, and evaluation.
  std::vector<router::RoutedLayer> training_gates();
  std::vector<router::RoutedLayer> evaluation_gates();

 private:
  router::KvHeads kv_heads() const;

  const Config& config_;
  const parallel::Mesh& mesh_;
  model::Decoder decoder_;
  std::unique_ptr<reward::RewardHead> head_;
  std::unique_ptr<router::LayerRouters> routers_;
  std::unique_ptr<router::SparsityObjective> objective_;
};

}  // namespace elastron::train
