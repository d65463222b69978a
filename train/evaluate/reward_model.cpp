#include "train/evaluate/reward_model.h"

#include "parallel/agree.h"
#include "router/forced_gate.h"
#include "train/workload/registry.h"

namespace elastron::train {

std::optional<RewardCheckpoint> find_reward_checkpoint(const std::string& named,
                                                       const std::string& run_folder,
                                                       parallel::World& world) {
  if (named.empty()) return {};
  parallel::Mesh mesh(world, parallel::MeshLayout::resolve(world.size(), 0, 1, 1));
  RewardCheckpoint found;
  parallel::on_all_ranks(mesh.world(), [&] { found.path = resolve_checkpoint(named, run_folder); });
  found.header = verify_checkpoint(found.path, mesh);
  parallel::on_all_ranks(mesh.world(), [&] {
    require_objective(found.header, kReward, found.path, "name the checkpoint of a reward model");
  });
  return found;
}

Config as_trained(const Config& config, const std::optional<RewardCheckpoint>& trained) {
  Config c = config;
  if (!trained) {
    // All of it is in the folder.
    c.train.trainable = {config.has_reward_head() ? Part::reward_head : Part::backbone};
    return c;
  }
  const auto t = config::parse_config<Config>(trained->header.config, trained->path);
  c.router = t.router;
  c.router.force = config.router.force;
  if (!config.model.rope_scaling.keys) c.model.rope_scaling = t.model.rope_scaling;
  c.reward = t.reward;
  c.reward.overlong = config.reward.overlong;
  c.reward.bad_rows = config.reward.bad_rows;
  c.reward.normalize = config.reward.normalize;
  c.reward.share_prompts = config.reward.share_prompts;
  // Where the files of its routers are now.
  if (!config.reward.router.empty()) c.reward.router = config.reward.router;
  c.train.trainable = t.train.trainable;
  c.train.lora = t.train.lora;
  c.train.seed = t.train.seed;
  c.data.chat_template = t.data.chat_template;
  if (c.model.storage != WeightsKept::automatic && c.trains(Part::backbone)) {
    throw UsageError("the checkpoint holds a whole backbone, which is in model.dtype",
                     "model.storage",
                     "set it to auto, or export the checkpoint and name its folder");
  }
  return c;
}

Config as_it_was(Config config) {
  config.train.trainable = {Part::reward_head};
  config.reward.router.clear();
  config.router.force = "none";
  return config;
}

RewardModel::RewardModel(const Config& config, parallel::Mesh& mesh, Device& device,
                         const std::optional<RewardCheckpoint>& trained)
    : config_(config), session_(config_, /*training=*/false, mesh, device) {
  if (trained) load(*trained, mesh);
  const auto& m = session_.decoder().config();
  router::Force forced;
  parallel::on_all_ranks(mesh.world(), [&] {
    forced = router::parse_force(config_.router.force, m.num_layers, m.kv_heads,
                                 config_.router.granularity);
  });
  gates_ = forced.active ? session_.model().routed_by_gates(forced.gates)
                         : session_.model().evaluation_gates();
}

void RewardModel::load(const RewardCheckpoint& trained, parallel::Mesh& mesh) {
  parallel::on_all_ranks(mesh.world(), [&] {
    require_backbone(trained.header, session_.backbone_fingerprint(), trained.path);
  });
  load_tensors(trained.path, {.parameters = session_.model().objective_parameters()}, mesh);
  scale_ = RewardScale::from(trained.header.state);
}

}  // namespace elastron::train
