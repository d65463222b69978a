// One optimiser step: forward, loss and backward over this rank's micro batches, the sparsity
// objective, gradient reduction, clipping, update. Numbers that come out are the global ones, the
// same on all ranks and on any layout (docs/method.md, Invariants).
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "data/packed_batch.h"
#include "model/decoder.h"
#include "parallel/gradient_reducer.h"
#include "parallel/mesh.h"
#include "router/objective.h"
#include "router/sparsity.h"
#include "train/config.h"
#include "train/step/loss.h"
#include "train/step/optimizer.h"

namespace elastron::train {

// Means over the documents of a task; count 0 where the step had none.
struct TaskFigures {
  int64_t documents = 0;
  double msr = 0;
  double esr_last_layer_last_query = 0;
  double esr_all_layers_last_query = 0;
  double esr_all_layers_area = 0;
  double esr_tiles = 0;
  double entropy = 0;  // binary entropy of the gates' noisy probability, nats
};

struct StepResult {
  double loss = 0;       // the sum of both
  double data_loss = 0;  // of the labels, or of the pairs
  double sparsity_loss = 0;
  double grad_norm = 0;  // before clipping
  double tau = 0;        // mean over the layers
  std::map<ParameterGroup, double> lr;
  int64_t tokens = 0, labels = 0, documents = 0;
  int64_t tokens_apart = 0;       // if no prompt were shared
  std::vector<double> loss_sums;  // TrainingLoss::sums() over all ranks
  // (query, key) pairs of a query head, summed over the documents: causal ones, and those of the
  // selected branches as a mean over layers and heads.
  double full_pairs = 0, selected_pairs = 0;
  TaskFigures all;
  std::array<TaskFigures, data::kTaskCount> task;
  // Of the data ranks: the most that one had to do over the mean, by predicted operations and by
  // the seconds that its micro batches took.
  double predicted_imbalance = 1, imbalance = 1;
  bool skipped = false;  // non-finite loss or gradient: nothing was updated, on any rank
};

// What the heads did per document, over all ranks of the tensor and context groups.
struct HeadCounts {
  std::vector<router::DocumentHeads> documents;
  // [layers, local kv heads]: share of tiles that the head skipped, summed over the documents.
  std::vector<double> skipped;
};
// Collective over both groups. `batch`: the whole one; `exchange`: the one that the forward pass
// had.
HeadCounts count_heads(const model::RoutedHeads& heads, const data::PackedBatch& batch,
                       const model::AttentionExchange& exchange, const ops::HeadPattern& pattern,
                       int64_t group, parallel::Mesh& mesh);

class StepRunner {
 public:
  // References must outlive the runner. `objective` is null without a router.
  StepRunner(const Config& config, parallel::Mesh& mesh, Device& device, model::Decoder& decoder,
             std::vector<router::RoutedLayer>& routed, TrainingLoss& loss,
             router::SparsityObjective* objective, Optimizer& optimizer);

  // `micro_batches`: this data rank's, in order; of all data ranks together there are
  // `global_micro_batches`. `beat` is called between micro batches (watchdog, signals).
  StepResult run(int64_t step, const std::vector<data::PackedBatch>& micro_batches,
                 int64_t global_micro_batches, const std::function<void()>& beat);

  // What a checkpoint keeps of the steps so far.
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
  struct Sums;
  // What a micro batch's summed loss is divided by (docs/method.md, Language-model loss);
  // own_terms: of this micro batch, step_terms: of the whole step. 0 where there is nothing to
  // divide.
  double loss_divisor(int64_t own_terms, int64_t step_terms, int64_t micro_batches) const;
  void micro_batch(int64_t step, const data::PackedBatch& batch, double loss_scale,
                   double objective_scale, bool last, Sums& sums);

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
