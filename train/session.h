// Training and evaluation share these: the model of a configuration with its weights, and the
// tokenizer.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "parallel/mesh.h"
#include "train/config.h"
#include "train/trained_model.h"

namespace elastron::train {

class Session {
 public:
  // Collective over the mesh. Reads the model folder (every rank its own slices) and builds what
  // the objective has beside it. `training`: what trains gets gradients. With reward.router,
  // config.router must be the settings it was trained with (with_stored_router). `beat`, if it is
  // given, is called while weights and checkpoints are read, after every 16 MiB or less.
  Session(const Config& config, bool training, parallel::Mesh& mesh, Device& device,
          const std::function<void()>& beat = {});

  model::Decoder& decoder() { return model_->decoder(); }
  const data::Tokenizer& tokenizer() const { return *tokenizer_; }
  const std::string& backbone_fingerprint() const { return fingerprint_; }
  router::SparsityObjective* objective() { return model_->objective(); }
  reward::RewardHead* head() { return model_->head(); }
  TrainedModel& model() { return *model_; }
  // Whether the head is as it was drawn: neither the folder nor (so far) a checkpoint has one.
  bool head_is_new() const { return head_is_new_; }

  int64_t parameter_count(bool trainable_only);

 private:
  std::unique_ptr<data::Tokenizer> tokenizer_;
  std::unique_ptr<TrainedModel> model_;
  bool head_is_new_ = false;
  std::string fingerprint_;
};

// Collective. The configuration with the settings of the router that reward.router names, if any,
// but for the sparsity objective's, which are the run's own.
Config with_stored_router(Config config, parallel::Mesh& mesh, Device& device);

}  // namespace elastron::train
