#include "bench/scale/training_run.h"

#include "train/trained_model.h"

namespace elastron::bench {

train::Config router_training(int64_t tokens) {
  train::Config config;
  config.data.max_tokens = tokens;
  config.data.label_mode = data::LabelMode::all;
  return config;
}

model::ModelConfig small_model(int64_t layers, int64_t hidden) {
  model::ModelConfig m;
  m.hidden_size = hidden;
  m.intermediate_size = 3 * hidden;
  m.num_layers = layers;
  m.q_heads = 8;
  m.kv_heads = 4;
  m.head_dim = hidden / 8;
  m.vocab_size = 1024;
  return m;
}

TrainingRun::TrainingRun(const train::Config& config, const model::ModelConfig& m,
                         parallel::Mesh& mesh)
    : config_(config),
      mesh_(mesh),
      decoder_(m, train::decoder_options(config_, true), mesh.tensor(), device_),
      routers_(
          config_.router,
          router::RoutedModel{m.num_layers,
                              m.head_dim,
                              {m.kv_heads, mesh.tensor().rank() * m.kv_heads / mesh.layout().tensor,
                               m.kv_heads / mesh.layout().tensor},
                              data::kTaskCount},
          DType::f32, 1, true, device_),
      routed_(routers_.routed()) {
  decoder_.initialise(1);
  ParameterList trained;
  routers_.append_parameters(trained);
  objective_ = std::make_unique<router::SparsityObjective>(
      config_.router.reg, router::task_targets(config_.router.reg, data::kTaskNames), DType::f32, 1,
      true, device_);
  optimizer_ = std::make_unique<train::Optimizer>(trained, config_.train.adam, 0.0);
  loss_ = std::make_unique<train::LanguageModelLoss>(decoder_);
  runner_ = std::make_unique<train::StepRunner>(config_, mesh_, device_, decoder_, routed_, *loss_,
                                                objective_.get(), *optimizer_);
  data::Document document;
  for (int64_t t = 0; t < config_.data.max_tokens; ++t) {
    document.ids.push_back(int32_t(t * 7919 % m.vocab_size));
  }
  document.user_length = config_.data.max_tokens * 3 / 4;
  batch_ = data::make_packed_batch({&document});
}

train::StepResult TrainingRun::step(int64_t micro_batches) {
  train::MicroBatches batches(micro_batches, batch_);
  const auto totals =
      train::StepTotals::of_alike(micro_batches * mesh_.layout().data, batch_, *loss_);
  return runner_->run(steps_++, batches, totals, [] {});
}

int64_t TrainingRun::step_bytes() {
  device_.reset_peak();
  const int64_t held = device_.memory().in_use_bytes;
  step(1);
  return device_.memory().peak_bytes - held;
}

}  // namespace elastron::bench
