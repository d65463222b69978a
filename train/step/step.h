// One optimiser step: forward, loss and backward over this rank's micro batches, the sparsity
// objective, gradient reduction, clipping, update. Numbers that come out are the global ones, the
// same on all ranks and on any layout (docs/method.md, Invariants).
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "model/decoder.h"
#include "parallel/gradient_reducer.h"
#include "parallel/mesh.h"
#include "router/objective.h"
#include "train/config.h"
#include "train/step/local_batch.h"
#include "train/step/loss.h"
#include "train/step/micro_batches.h"
#include "train/step/optimizer.h"
#include "train/step/step_figures.h"
#include "train/step/step_result.h"

namespace elastron::train {

class StepRunner {
 public:
  // References must outlive the runner. `objective` is null without a router.
  StepRunner(const Config& config, parallel::Mesh& mesh, Device& device, model::Decoder& decoder,
             std::vector<router::RoutedLayer>& routed, TrainingLoss& loss,
             router::SparsityObjective* objective, Optimizer& optimizer);

  // `micro_batches`: this data rank's. `beat` is called between them (watchdog, signals).
  StepResult run(int64_t step, MicroBatches& micro_batches, const StepTotals& totals,
                 const std::function<void()>& beat);

  // A checkpoint keeps these of the steps so far.
  struct Counters {
    int64_t updates = 0;  // optimiser updates: skipped steps do not count
    int64_t labels = 0;   // or other terms of the loss; of all data ranks, like the next
    int64_t micro_batches = 0;
    // By their names in a checkpoint.
    std::array<std::pair<const char*, int64_t*>, 3> named() {
      return {{{"updates", &updates}, {"labels", &labels}, {"micro_batches", &micro_batches}}};
    }
  };
  const Counters& counters() const { return counters_; }
  void restore(const Counters& counters) { counters_ = counters; }

 private:
  // Sums of losses of a micro batch are multiplied by these, so that a step's add up to its means.
  struct Scales {
    double loss = 0, sparsity = 0;
  };
  // A micro batch's summed loss is divided by it (docs/method.md, Language-model loss);
  // own_terms: of this micro batch, step_terms: of the whole step. 0 where there is nothing to
  // divide.
  double loss_divisor(int64_t own_terms, int64_t step_terms, int64_t micro_batches) const;

  void micro_batch(int64_t step, const data::PackedBatch& batch, const Scales& scales, bool last,
                   StepFigures& figures);
  // The sparsity objective of the batch, on the device; nothing where this rank has none to add.
  std::optional<ops::SparsityObjectiveOutput> sparsity_objective(const data::PackedBatch& batch,
                                                                 const model::RoutedHeads& heads,
                                                                 double scale);

  // The sums of all data ranks as the step's figures.
  void reduce(StepFigures& figures, double accumulation, StepResult& result);
  double imbalance(double own_seconds);
  void update(StepResult& result);

  const Config& config_;
  parallel::Mesh& mesh_;
  Device& device_;
  model::Decoder& decoder_;
  std::vector<router::RoutedLayer>& routed_;
  TrainingLoss& loss_;
  router::SparsityObjective* objective_;
  Optimizer& optimizer_;
  bool trains_decoder_;  // something below the final hidden states, so that it has a backward pass
  parallel::GradientReducer reducer_;
  Counters counters_;
};

}  // namespace elastron::train
