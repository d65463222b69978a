#include "train/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "model/weights/expected_tensors.h"
#include "model/weights/model_folder.h"
#include "parallel/agree.h"
#include "train/exchange/router_exchange.h"
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

Session::Session(const Config& config, bool training, parallel::Mesh& mesh, Device& device,
                 const std::function<void()>& beat) {
  const bool makes_backbone = objective_of(config).makes_backbone();
  std::optional<router::StoredRouter> stored;
  if (!config.reward.router.empty() && config.has_routers()) {
    stored = read_router(config.reward.router, mesh, device, beat);
  }
  std::unique_ptr<model::ModelFolder> folder;
  std::string checksums;
  parallel::on_all_ranks(mesh.world(), [&] {
    tokenizer_ = data::load_tokenizer(config.model.path);
    if (config.model.weights == WeightSource::load) {
      folder =
          std::make_unique<model::ModelFolder>(config.model.path, config.model.rope_scaling, beat);
    }
    const model::ModelConfig m =
        folder ? folder->config()
               : model::read_model_config(config.model.path, config.model.rope_scaling);
    if (tokenizer_->vocab_size() > m.vocab_size) {
      throw InputError("the tokenizer has " + std::to_string(tokenizer_->vocab_size()) +
                           " ids, the model " + std::to_string(m.vocab_size),
                       config.model.path, "use the tokenizer of this model");
    }
    check_exchanged_heads(config, m.kv_heads / mesh.tensor().size());
    model_ = std::make_unique<TrainedModel>(config, m, training, mesh, device);
    ParameterList of_folder = decoder().parameters();
    if (head() != nullptr) {
      head_is_new_ = !m.sequence_classifier;
      if (!head_is_new_) of_folder.push_back(&head()->parameter());
    }
    if (config.model.weights == WeightSource::random) {
      decoder().initialise(uint64_t(config.train.seed));
      head_is_new_ = head() != nullptr;
      fingerprint_ = "random";
    } else {
      folder->load(of_folder, decoder().options().lm_head ? "" : model::kLmHead,
                   mesh.world().rank());
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
    if (!fingerprint_.empty() && config.model.rope_scaling.keys) {
      fingerprint_ += ":" + model::rope_fingerprint(m.rope);
    }
    if (!stored) return;
    ParameterList of_routers;
    model_->routers()->append_parameters(of_routers);
    router::fill_parameters(*stored, config.reward.router, of_routers);
  });
  if (folder && !makes_backbone) {
    fingerprint_ = folder->fingerprint(mesh.world().all_gather_host(checksums));
  }
  if (!stored || stored->backbone_fingerprint.empty()) return;
  parallel::on_all_ranks(mesh.world(), [&] {
    if (stored->backbone_fingerprint == fingerprint_) return;
    throw InputError(
        "the router was trained on another backbone", config.reward.router,
        "set model.path and model.rope_scaling to the backbone and the positions it was "
        "trained on");
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

int64_t Session::parameter_count(bool trainable_only) {
  int64_t count = 0;
  for (const Parameter* p : model_->parameters()) {
    if (!trainable_only || p->trainable) count += p->logical_shape.numel();
  }
  return count;
}

}  // namespace elastron::train
