// What the GPU benchmarks time beside single ops: a router's decision, and a router-training step
// of a few layers at a given MSR, on random weights.
#pragma once
#include <memory>
#include <vector>

#include "data/packed_batch.h"
#include "model/decoder.h"
#include "parallel/communicator.h"
#include "train/step/optimizer.h"

namespace elastron::bench {

// Normal numbers times `scale`: a block of them is drawn and repeated, for weights of gigabytes.
void fill_random(const Tensor& t, double scale);
Tensor random_tensor(const Shape& shape, DType dtype, double scale, Device& device);

class RouterCase {
 public:
  RouterCase(int64_t tokens, int64_t kv_heads, int64_t head_dim, Device& device);
  void decide();

 private:
  router::RouterConfig config_;
  std::unique_ptr<router::AttentionRouter> router_;
  std::unique_ptr<router::RoutedLayer> layer_;
  data::PackedBatch batch_;
  router::RouterBatch router_batch_;
  Tensor keys_;
};

struct TrainingStepShape {
  int64_t layers, tokens;
  double msr;
  model::Recompute recompute;
  int64_t hidden, intermediate, q_heads, kv_heads, vocab;
};

// Forward, loss over all positions, backward, AdamW on the routers. The routers' last layers are
// set so that each head is sparse with probability `msr`.
class TrainingStep {
 public:
  TrainingStep(const TrainingStepShape& shape, Device& device);
  void run();
  double msr() const;  // of the last step
  double loss() const { return loss_; }
  int64_t planned_bytes() const { return planned_bytes_; }

 private:
  Device& device_;
  parallel::SelfCommunicator group_{"tensor"};
  router::RouterConfig config_;
  std::unique_ptr<model::Decoder> decoder_;
  std::vector<std::unique_ptr<router::AttentionRouter>> routers_;
  std::vector<router::RoutedLayer> routed_;
  std::unique_ptr<train::Optimizer> optimizer_;
  data::PackedBatch batch_;
  model::DeviceBatch device_batch_;
  std::vector<Tensor> gates_;
  int64_t step_ = 0, planned_bytes_ = 0;
  double loss_ = 0;
};

}  // namespace elastron::bench
