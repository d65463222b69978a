#include "train/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "model/weights/expected_tensors.h"
#include "model/weights/model_folder.h"
#include "parallel/agree.h"
#include "train/exchange/router_exchange.h"
#include "train/plan/run_shape.h"
#include "train/workload/registry.h"

namespace elastron::train {

namespace {

// `heads`: kv heads of a rank of the tensor group.
void check_exchanged_heads(const Config& config, int64_t heads) {
  const int64_t ranks = config.parallel.context;
  if (ranks == 1 || config.parallel.context_kind != ContextKind::ulysses) return;
  if (heads >= ranks && heads % ranks == 0) return;
  int64_t fits = std::min(heads, ranks);
  while (heads % fits != 0) --fits;
  throw UsageError(
      fmt::format("{} ranks cannot share the {} kv heads of a tensor rank", ranks, heads),
      "parallel.context", fmt::format("set it to {}, or parallel.context_kind to gather", fits));
}

}  // namespace

Session::Session(const Config& config, bool training, parallel::Mesh& mesh, Device& device)
    : config_(config), mesh_(mesh) {
  const bool makes_backbone = objective_of(config).makes_backbone();
  const DType dtype = config.model.compute_dtype(), master = accumulator_dtype(dtype);
  const auto seed = uint64_t(config.train.seed);
  std::optional<router::StoredRouter> stored;
  if (!config.reward.router.empty() && config.has_routers()) {
    stored = read_router(config.reward.router, mesh, device);
  }
  std::unique_ptr<model::ModelFolder> folder;
  std::string checksums;
  parallel::on_all_ranks(mesh.world(), [&] {
    tokenizer_ = data::load_tokenizer(config.model.path);
    if (config.model.weights == WeightSource::load) {
      folder = std::make_unique<model::ModelFolder>(config.model.path);
    }
    const model::ModelConfig m =
        folder ? folder->config() : model::read_model_config(config.model.path);
    if (tokenizer_->vocab_size() > m.vocab_size) {
      throw InputError("the tokenizer has " + std::to_string(tokenizer_->vocab_size()) +
                           " ids, the model " + std::to_string(m.vocab_size),
                       config.model.path, "use the tokenizer of this model");
    }
    check_exchanged_heads(config, m.kv_heads / mesh.tensor().size());
    const model::DecoderOptions options = decoder_options(config, training);
    decoder_ = std::make_unique<model::Decoder>(m, options, mesh.tensor(), device);
    decoder_->initialise_adapters(seed);
    ParameterList of_folder = decoder_->parameters();
    if (config.has_reward_head()) {
      head_ = std::make_unique<reward::RewardHead>(
          m.hidden_size, master, seed, config.trains(Part::reward_head) && training, device);
      head_is_new_ = !m.sequence_classifier;
      if (!head_is_new_) of_folder.push_back(&head_->parameter());
    }
    if (config.model.weights == WeightSource::random) {
      decoder_->initialise(seed);
      head_is_new_ = head_ != nullptr;
      fingerprint_ = "random";
    } else {
      folder->load(of_folder, options.lm_head ? "" : model::kLmHead);
      if (!makes_backbone) {
        checksums = folder->tensor_checksums(mesh.world().rank(), mesh.world().size());
      }
    }
    if (head_is_new_ && !config.trains(Part::reward_head)) {
      throw UsageError("the model has no reward head to keep", "train.trainable",
                       "add reward_head, or start from a model with score.weight");
    }
    // A checkpoint of weights that are being made belongs to the shapes alone.
    if (makes_backbone) fingerprint_ = "pretrain";
    if (!config.has_routers()) return;
    ParameterList of_routers;
    routers_ = std::make_unique<router::LayerRouters>(
        config.router, router::RoutedModel{m.num_layers, m.head_dim, kv_heads(), data::kTaskCount},
        master, seed, config.trains(Part::router) && training, device);
    routers_->append_parameters(of_routers);
    if (stored) router::fill_parameters(*stored, config.reward.router, of_routers);
    if (!config.trains(Part::router)) return;
    objective_ = std::make_unique<router::SparsityObjective>(
        config.router.reg, router::task_targets(config.router.reg, data::kTaskNames), master, seed,
        training, device);
  });
  if (folder && !makes_backbone) {
    fingerprint_ = folder->fingerprint(mesh.world().all_gather_host(checksums));
  }
  if (!stored || stored->backbone_fingerprint.empty()) return;
  parallel::on_all_ranks(mesh.world(), [&] {
    if (stored->backbone_fingerprint == fingerprint_) return;
    throw InputError("the router was trained on another backbone", config.reward.router,
                     "set model.path to the backbone it was trained on");
  });
}

Config with_stored_router(Config config, parallel::Mesh& mesh, Device& device) {
  const std::string stored = objective_of(config).stored_router(config);
  if (stored.empty()) return config;
  const auto reg = config.router.reg;
  const auto force = config.router.force;
  config.router = read_router(stored, mesh, device).config;
  config.router.reg = reg;
  config.router.force = force;
  return config;
}

router::KvHeads Session::kv_heads() const {
  const int64_t all = decoder_->config().kv_heads, own = all / mesh_.tensor().size();
  return {all, own * mesh_.tensor().rank(), own};
}

ParameterList Session::parameters() {
  ParameterList list = decoder_->parameters();
  list.insert(list.end(), decoder_->adapters().begin(), decoder_->adapters().end());
  if (head_) list.push_back(&head_->parameter());
  if (routers_) routers_->append_parameters(list);
  if (objective_) objective_->append_parameters(list);
  return list;
}

ParameterList Session::objective_parameters() {
  ParameterList list;
  if (config_.trains(Part::backbone)) list = decoder_->parameters();
  list.insert(list.end(), decoder_->adapters().begin(), decoder_->adapters().end());
  if (config_.trains(Part::reward_head)) list.push_back(&head_->parameter());
  if (!config_.trains(Part::router)) return list;
  routers_->append_parameters(list);
  objective_->append_parameters(list);
  return list;
}

std::vector<router::RoutedLayer> Session::routed_by_router() { return routers_->routed(); }

std::vector<router::RoutedLayer> Session::routed_by_gates(const router::StaticGates& gates) const {
  return router::routed_by_gates(gates, kv_heads(), config_.router);
}

std::vector<router::RoutedLayer> Session::routed_at_random() const {
  const router::RandomGates random{.sequence_share = config_.train.random_gates.share,
                                   .sparse_probability = config_.train.random_gates.sparse,
                                   .seed = uint64_t(config_.train.seed)};
  std::vector<router::RoutedLayer> layers;
  for (int64_t i = 0; i < decoder_->config().num_layers; ++i) {
    layers.emplace_back(i, kv_heads().first, config_.router, random);
  }
  return layers;
}

std::vector<router::RoutedLayer> Session::routed_fully() const {
  const auto& m = decoder_->config();
  return routed_by_gates(router::uniform_gates(m.num_layers, m.kv_heads, 1));
}

std::vector<router::RoutedLayer> Session::evaluation_gates() {
  return routers_ ? routed_by_router() : routed_fully();
}

int64_t Session::parameter_count(bool trainable_only) {
  int64_t count = 0;
  for (const Parameter* p : parameters()) {
    if (!trainable_only || p->trainable) count += p->logical_shape.numel();
  }
  return count;
}

}  // namespace elastron::train
