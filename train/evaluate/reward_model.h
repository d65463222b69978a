// A reward model as it is evaluated: where it was trained, and what it scores with.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "parallel/mesh.h"
#include "parallel/world.h"
#include "train/checkpoint/checkpoint.h"
#include "train/config.h"
#include "train/reward_workload.h"
#include "train/session.h"

namespace elastron::train {

struct RewardCheckpoint {
  std::string path;
  CheckpointHeader header;
};

// Collective over the world. `named`: a checkpoint of reward training, or a run's folder; relative
// names are looked for in `run_folder`, too. Nothing where it is empty. Throws CheckpointError on
// all ranks.
std::optional<RewardCheckpoint> find_reward_checkpoint(const std::string& named,
                                                       const std::string& run_folder,
                                                       parallel::World& world);

// What a model is comes from where it was trained, whatever `config` says; how it is evaluated
// comes from `config`.
Config as_trained(const Config& config, const std::optional<RewardCheckpoint>& trained);

// The backbone as its folder has it, with full attention: what an untrained head stands on.
Config as_it_was(Config config);

class RewardModel {
 public:
  // Collective over the mesh. With the checkpoint's weights, or as the model folder has them. Mesh
  // and device must outlive it.
  RewardModel(const Config& config, parallel::Mesh& mesh, Device& device,
              const std::optional<RewardCheckpoint>& trained);

  Session& session() { return session_; }
  std::vector<router::RoutedLayer>& gates() { return gates_; }
  const std::optional<RewardScale>& scale() const { return scale_; }

 private:
  void load(const RewardCheckpoint& trained, parallel::Mesh& mesh);

  Config config_;
  Session session_;
  std::vector<router::RoutedLayer> gates_;
  std::optional<RewardScale> scale_;
};

}  // namespace elastron::train
