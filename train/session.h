// Training and evaluation share these: the decoder with its weights and adapters, the routers, the
// reward head, the objective.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "model/decoder.h"
#include "parallel/mesh.h"
#include "reward/head.h"
#include "router/forced_gate.h"
#include "router/layer_routers.h"
#include "router/objective.h"
#include "train/config.h"

namespace elastron::train {

class Session {
 public:
  // Collective over the mesh. Reads the model folder (every rank its own slices) and builds what
  // the objective has beside it. `training`: what trains gets gradients. With reward.router,
  // config.router must be the settings it was trained with (with_stored_router).
  Session(const Config& config, bool training, parallel::Mesh& mesh, Device& device);

  model::Decoder& decoder() { return *decoder_; }
  const data::Tokenizer& tokenizer() const { return *tokenizer_; }
  const std::string& backbone_fingerprint() const { return fingerprint_; }
  router::SparsityObjective* objective() { return objective_.get(); }
  reward::RewardHead* head() { return head_.get(); }  // null without one
  // Whether the head is as it was drawn: neither the folder nor (so far) a checkpoint has one.
  bool head_is_new() const { return head_is_new_; }

  // Everything with a name: backbone, adapters, head, routers, multipliers.
  ParameterList parameters();
  // Those that train, in a fixed order: what a checkpoint holds.
  ParameterList objective_parameters();

  // Gates for the layers: by the routers (or masks), by what `force` says, random ones for
  // pretraining, or full attention everywhere.
  std::vector<router::RoutedLayer> routed_by_router();
  std::vector<router::RoutedLayer> routed_by_gates(const router::StaticGates& gates) const;
  std::vector<router::RoutedLayer> routed_at_random() const;
  std::vector<router::RoutedLayer> routed_fully() const;
  // The routers' where there are some, or full attention. What training has is its objective's
  // (Objective::training_gates).
  std::vector<router::RoutedLayer> evaluation_gates();

  int64_t parameter_count(bool trainable_only);

 private:
  router::KvHeads kv_heads() const;

  const Config& config_;
  parallel::Mesh& mesh_;
  std::unique_ptr<data::Tokenizer> tokenizer_;
  std::unique_ptr<model::Decoder> decoder_;
  std::unique_ptr<router::LayerRouters> routers_;
  std::unique_ptr<router::SparsityObjective> objective_;
  std::unique_ptr<reward::RewardHead> head_;
  bool head_is_new_ = false;
  std::string fingerprint_;
};

// Collective. The configuration with the settings of the router that reward.router names, if any,
// but for the sparsity objective's, which are the run's own.
Config with_stored_router(Config config, parallel::Mesh& mesh, Device& device);

}  // namespace elastron::train
