#include "train/session.h"

#include "model/weights/model_folder.h"
#include "parallel/agree.h"

namespace elastron::train {

Session::Session(const Config& config, bool training, parallel::Mesh& mesh, Device& device)
    : config_(config), mesh_(mesh) {
  const bool pretrain = config.train.objective == Objective::pretrain;
  const DType dtype = config.model.compute_dtype();
  std::unique_ptr<model::ModelFolder> folder;
  std::string checksums;
  parallel::on_all_ranks(mesh.world(), [&] {
    tokenizer_ = data::load_tokenizer(config.model.path);
    const model::ModelConfig m = model::read_model_config(config.model.path);
    if (tokenizer_->vocab_size() > m.vocab_size) {
      throw InputError("the tokenizer has " + std::to_string(tokenizer_->vocab_size()) +
                           " ids, the model " + std::to_string(m.vocab_size),
                       config.model.path, "use the tokenizer of this model");
    }
    const model::DecoderOptions options{
        .dtype = dtype,
        .train_backbone = pretrain && training,
        .recompute = config.train.recompute,
        .max_position = config.model.max_position.value_or(config.data.max_tokens),
        .loss_chunk_rows = config.train.loss.chunk_rows,
        .full_attention = config.model.full_attention};
    decoder_ = std::make_unique<model::Decoder>(m, options, mesh.tensor(), device);
    if (config.model.weights == WeightSource::random) {
      decoder_->initialise(uint64_t(config.train.seed));
      fingerprint_ = "random";
    } else {
      folder = std::make_unique<model::ModelFolder>(config.model.path);
      folder->load(decoder_->parameters());
      if (!pretrain) {
        checksums = folder->tensor_checksums(mesh.world().rank(), mesh.world().size());
      }
    }
    if (pretrain) {
      // Its weights are what is trained: a checkpoint of any of them belongs to the shapes alone.
      fingerprint_ = "pretrain";
      return;
    }
    const DType router_dtype = accumulator_dtype(dtype);
    for (int64_t i = 0; i < m.num_layers; ++i) {
      routers_.push_back(std::make_unique<router::AttentionRouter>(
          i, m.head_dim, data::kTaskCount, config.router, router_dtype, uint64_t(config.train.seed),
          training, device));
    }
    objective_ = std::make_unique<router::SparsityObjective>(
        config.router.reg, router::task_targets(config.router.reg, data::kTaskNames), router_dtype,
        uint64_t(config.train.seed), training, device);
  });
  if (folder && !pretrain) {
    fingerprint_ = folder->fingerprint(mesh.world().all_gather_host(checksums));
  }
}

int64_t Session::first_kv_head() const {
  return decoder_->config().kv_heads / mesh_.tensor().size() * mesh_.tensor().rank();
}

ParameterList Session::parameters() {
  ParameterList list = decoder_->parameters();
  for (auto& r : routers_) r->append_parameters(list);
  if (objective_) objective_->append_parameters(list);
  return list;
}

ParameterList Session::objective_parameters() {
  if (config_.train.objective == Objective::pretrain) return decoder_->parameters();
  ParameterList list;
  for (auto& r : routers_) r->append_parameters(list);
  objective_->append_parameters(list);
  return list;
}

std::vector<router::RoutedLayer> Session::routed_by_router() {
  std::vector<router::RoutedLayer> layers;
  for (size_t i = 0; i < routers_.size(); ++i) {
    layers.emplace_back(int64_t(i), first_kv_head(), config_.router, uint64_t(config_.train.seed),
                        *routers_[i]);
  }
  return layers;
}

std::vector<router::RoutedLayer> Session::routed_by_gates(const router::StaticGates& gates) const {
  const int64_t local = decoder_->config().kv_heads / mesh_.tensor().size();
  std::vector<router::RoutedLayer> layers;
  for (size_t i = 0; i < gates.size(); ++i) {
    const auto first = gates[i].begin() + first_kv_head();
    layers.emplace_back(int64_t(i), first_kv_head(), config_.router,
                        std::vector<uint8_t>(first, first + local));
  }
  return layers;
}

std::vector<router::RoutedLayer> Session::routed_at_random() const {
  const router::RandomGates random{.sequence_share = config_.train.random_gates.share,
                                   .sparse_probability = config_.train.random_gates.sparse,
                                   .seed = uint64_t(config_.train.seed)};
  std::vector<router::RoutedLayer> layers;
  for (int64_t i = 0; i < decoder_->config().num_layers; ++i) {
    layers.emplace_back(i, first_kv_head(), config_.router, random);
  }
  return layers;
}

std::vector<router::RoutedLayer> Session::training_gates() {
  return config_.train.objective == Objective::pretrain ? routed_at_random() : routed_by_router();
}

int64_t Session::parameter_count(bool trainable_only) {
  int64_t count = 0;
  for (const Parameter* p : parameters()) {
    if (!trainable_only || p->trainable) count += p->logical_shape.numel();
  }
  return count;
}

}  // namespace elastron::train
