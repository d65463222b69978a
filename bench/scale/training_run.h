// Training of a small model's routers on CPU ranks, as the benchmarks of this folder run it.
#pragma once
#include <memory>
#include <vector>

#include "core/device.h"
#include "router/layer_routers.h"
#include "train/step/step.h"

namespace elastron::bench {

// One document of so many tokens in each micro batch, every token with a label.
train::Config router_training(int64_t tokens);

// 8 query heads on 4 kv heads, as wide together as the hidden state, and an MLP of three times it.
model::ModelConfig small_model(int64_t layers, int64_t hidden);

class TrainingRun {
 public:
  // The mesh must outlive it.
  TrainingRun(const train::Config& config, const model::ModelConfig& model, parallel::Mesh& mesh);

  // A step of `micro_batches` per data rank.
  train::StepResult step(int64_t micro_batches);
  // Runs a step: the most that was held during it, beside what was held before.
  int64_t step_bytes();
  CpuDevice& device() { return device_; }

 private:
  train::Config config_;
  parallel::Mesh& mesh_;
  CpuDevice device_;
  model::Decoder decoder_;
  router::LayerRouters routers_;
  std::vector<router::RoutedLayer> routed_;
  std::unique_ptr<router::SparsityObjective> objective_;
  std::unique_ptr<train::Optimizer> optimizer_;
  std::unique_ptr<train::TrainingLoss> loss_;
  std::unique_ptr<train::StepRunner> runner_;
  data::PackedBatch batch_;
  int64_t steps_ = 0;
};

}  // namespace elastron::bench
