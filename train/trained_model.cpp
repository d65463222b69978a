#include "train/trained_model.h"

#include "train/workload/registry.h"

namespace elastron::train {

model::DecoderOptions decoder_options(const Config& config, bool training) {
  return {.dtype = config.model.compute_dtype(),
          .storage = config.model.storage_dtype(),
          .train_backbone = config.trains(Part::backbone) && training,
          .lora = config.has_lora() ? std::optional(config.train.lora) : std::nullopt,
          .train_lora = training,
          .split_rows = config.splits_rows(),
          .lm_head = !config.has_reward_head(),
          .recompute = config.train.recompute,
          .max_position = config.model.max_position.value_or(config.data.max_tokens),
          .loss_chunk_rows = config.train.loss.chunk_rows,
          .full_attention = config.model.full_attention};
}

bool trains_decoder(const Config& config) {
  return config.trains(Part::backbone) || config.trains(Part::router) || config.has_lora();
}

parallel::Communicator* optimizer_group(const Config& config, const parallel::Mesh& mesh) {
  const bool shared = config.train.shard_optimizer && config.trains(Part::backbone);
  return shared && mesh.grad().size() > 1 ? &mesh.grad() : nullptr;
}

TrainedModel::TrainedModel(const Config& config, const model::ModelConfig& model, bool training,
                           const parallel::Mesh& mesh, Device& device)
    : config_(config),
      mesh_(mesh),
      decoder_(model, decoder_options(config, training), mesh.tensor(), device) {
  const DType master = accumulator_dtype(config.model.compute_dtype());
  const auto seed = uint64_t(config.train.seed);
  decoder_.initialise_adapters(seed);
  if (config.has_reward_head()) {
    head_ = std::make_unique<reward::RewardHead>(
        model.hidden_size, master, seed, config.trains(Part::reward_head) && training, device);
  }
  if (!config.has_routers()) return;
  routers_ = std::make_unique<router::LayerRouters>(
      config.router,
      router::RoutedModel{model.num_layers, model.head_dim, kv_heads(), data::kTaskCount,
                          &mesh.tensor()},
      master, seed, config.trains(Part::router) && training, device);
  if (!config.trains(Part::router)) return;
  objective_ = std::make_unique<router::SparsityObjective>(
      config.router.reg, router::task_targets(config.router.reg, data::kTaskNames), master, seed,
      training, device);
}

router::KvHeads TrainedModel::kv_heads() const {
  const int64_t all = decoder_.config().kv_heads, own = all / mesh_.tensor().size();
  return {all, own * mesh_.tensor().rank(), own};
}

ParameterList TrainedModel::parameters() {
  ParameterList list = decoder_.parameters();
  list.insert(list.end(), decoder_.adapters().begin(), decoder_.adapters().end());
  if (head_) list.push_back(&head_->parameter());
  if (routers_) routers_->append_parameters(list);
  if (objective_) objective_->append_parameters(list);
  return list;
}

ParameterList TrainedModel::objective_parameters() {
  ParameterList list;
  if (config_.trains(Part::backbone)) list = decoder_.parameters();
  list.insert(list.end(), decoder_.adapters().begin(), decoder_.adapters().end());
  if (config_.trains(Part::reward_head)) list.push_back(&head_->parameter());
  if (!config_.trains(Part::router)) return list;
  routers_->append_parameters(list);
  objective_->append_parameters(list);
  return list;
}

std::unique_ptr<TrainingLoss> TrainedModel::make_loss() {
  return objective_of(config_).make_loss(config_, decoder_, head_.get(), mesh_.context());
}

std::vector<router::RoutedLayer> TrainedModel::routed_by_gates(
    const router::StaticGates& gates) const {
  return router::routed_by_gates(gates, kv_heads(), config_.router);
}

std::vector<router::RoutedLayer> TrainedModel::routed_at_random() const {
  router::RandomGates random{.sequence_share = config_.train.random_gates.share,
                             .sparse_probability = config_.train.random_gates.sparse,
                             .seed = uint64_t(config_.train.seed)};
  for (int32_t t = 0; config_.train.random_gates.robust_only && t < data::kTaskCount; ++t) {
    if (!router::is_sensitive_task(data::kTaskNames[size_t(t)])) random.tasks.push_back(t);
  }
  std::vector<router::RoutedLayer> layers;
  for (int64_t i = 0; i < decoder_.config().num_layers; ++i) {
    layers.emplace_back(i, kv_heads().first, config_.router, random);
  }
  return layers;
}

std::vector<router::RoutedLayer> TrainedModel::routed_fully() const {
  const auto& m = decoder_.config();
  return routed_by_gates(router::uniform_gates(m.num_layers, m.kv_heads, 1));
}

std::vector<router::RoutedLayer> TrainedModel::training_gates() {
  return objective_of(config_).training_gates(*this);
}

std::vector<router::RoutedLayer> TrainedModel::evaluation_gates() {
  return routers_ ? routed_by_router() : routed_fully();
}

}  // namespace elastron::train
