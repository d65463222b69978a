// The figures of a step's micro batches. What the host wants of one is read in one go, while the
// device is at the next one, and added up over the ranks once in a step: nothing of it stands
// between a forward and a backward pass.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "data/packed_batch.h"
#include "model/weights/model_config.h"
#include "parallel/mesh.h"
#include "router/config.h"
#include "train/metrics/document_figures.h"
#include "train/step/expert_loads.h"
#include "train/step/head_counts.h"
#include "train/step/loss.h"
#include "train/step/step_result.h"

namespace elastron::train {

class StepFigures {
 public:
  // All must outlive it.
  StepFigures(const model::ModelConfig& model, const router::RouterConfig& routing,
              parallel::Mesh& mesh)
      : model_(model), routing_(routing), mesh_(mesh) {}

  // A micro batch whose forward pass and loss are queued, as far as the host knows it.
  struct MicroBatch {
    const data::PackedBatch* batch = nullptr;  // the whole one; outlives the figures
    int64_t labels = 0;
    double loss = 0;  // what the host has of the sum of losses
    double loss_scale = 0, objective_scale = 0;
    int64_t rows = 0;  // of this rank, without padding
  };
  // And what the device has of it; each may be missing.
  struct OnDevice {
    Tensor loss;                        // [1] float64, of the sum of losses
    Tensor objective;                   // [1] float64, value of the sparsity objective
    std::vector<Tensor> probabilities;  // of each layer's gates [D, K]
  };
  // Has the numbers on their way, behind what is queued on the device so far. Waits for nothing.
  void add(const MicroBatch& micro_batch, const OnDevice& on_device,
           const model::RoutedHeads& heads, const model::AttentionExchange& exchange);
  // Reads all micro batches but the last `but` ones: waits for the device if it must.
  void read(size_t but);
  // Collective over the context and the tensor group. What this rank says of the step.
  StepSums sums();
  // This rank's rows that went to each expert of each layer that has some; behind sums().
  ExpertLoads& expert_loads() { return expert_loads_; }

 private:
  struct Pending {
    MicroBatch micro_batch;
    bool loss = false, objective = false;
    size_t probabilities = 0, layers_with_experts = 0;
    bool padded = false;
    HeadReading reading;
  };
  struct Document {
    const data::PackedBatch* batch;
    int64_t index;  // in it
    router::DocumentHeads heads;
    double entropy = 0;  // summed over this rank's gates, nats
  };
  void read(Pending& pending);
  void reduce_documents();
  void count(StepSums& sums) const;
  // One rank of the context group counts for all of them.
  bool counts_batches() const { return mesh_.context().rank() == 0; }

  const model::ModelConfig& model_;
  const router::RouterConfig& routing_;
  parallel::Mesh& mesh_;
  std::vector<Pending> pending_;  // not yet read
  std::vector<Document> documents_;
  StepSums sums_;
  ExpertLoads expert_loads_;
};

}  // namespace elastron::train
