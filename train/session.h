// What training and evaluation share: the decoder with its weights, the routers, the objective.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "model/decoder.h"
#include "parallel/mesh.h"
#include "router/forced_gate.h"
#include "router/objective.h"
#include "router/routed_layer.h"
#include "train/config.h"

namespace elastron::train {

class Session {
 public:
  // Collective over the mesh. Reads the model folder (every rank its own slices) and builds the
  // routers when the objective is `router`. `training`: parameters of the objective get gradients.
  Session(const Config& config, bool training, parallel::Mesh& mesh, Device& device);

  model::Decoder& decoder() { return *decoder_; }
  const data::Tokenizer& tokenizer() const { return *tokenizer_; }
  const std::string& backbone_fingerprint() const { return fingerprint_; }
  router::SparsityObjective* objective() { return objective_.get(); }

  // Everything with a name: backbone, routers, multipliers.
  ParameterList parameters();
  // Those the objective trains, in a fixed order: what a checkpoint holds.
  ParameterList objective_parameters();

  // Gates for the layers: by the routers, by what `force` says, or random ones for pretraining.
  std::vector<router::RoutedLayer> routed_by_router();
  std::vector<router::RoutedLayer> routed_by_gates(const router::StaticGates& gates) const;
  std::vector<router::RoutedLayer> routed_at_random() const;
  // What training uses.
  std::vector<router::RoutedLayer> training_gates();

  int64_t parameter_count(bool trainable_only);

 private:
  int64_t first_kv_head() const;

  const Config& config_;
  parallel::Mesh& mesh_;
  std::unique_ptr<data::Tokenizer> tokenizer_;
  std::unique_ptr<model::Decoder> decoder_;
  std::vector<std::unique_ptr<router::AttentionRouter>> routers_;
  std::unique_ptr<router::SparsityObjective> objective_;
  std::string fingerprint_;
};

}  // namespace elastron::train
