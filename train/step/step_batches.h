// The micro batches of a step that this data rank computes.
//
// Which documents a micro batch has follows from its index in the step, and the keys of their noise
// from the documents' places in the step: neither from who computes it. Who does is dealt by
// predicted cost (parallel.balance), as many for each data rank: attention's share grows with the
// square of a document's length, and a step waits for the rank with most to do.
//
// A pack is a pure function of its index: it does not matter when it is made, nor by which thread.
// One of its own makes them, the next step's while this one is computed.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/ordered_workers.h"
#include "data/source.h"
#include "model/weights/model_config.h"
#include "parallel/communicator.h"
#include "train/config.h"
#include "train/plan/step_work.h"
#include "train/step/loss.h"
#include "train/step/micro_batches.h"

namespace elastron::train {

// Operations of a training step's micro batch, with the sparsity that is expected of its documents:
// the target of their task where a router decides. Not what gates did before: a resumed run deals
// the same.
class MicroBatchCost {
 public:
  MicroBatchCost(const Config& config, const model::ModelConfig& model);
  double operator()(const data::PackedBatch& batch) const;

 private:
  double expected_msr(int64_t task) const;

  const Config& config_;
  StepWork work_;
  std::vector<double> targets_;  // by task; empty: no router decides
};

// Which micro batches of a step each data rank has, by what they cost. In turns where their number
// is no multiple of the ranks', as only plans have it.
std::vector<std::vector<int64_t>> deal(std::span<const double> costs, int ranks, Balance balance);

class StepBatches {
 public:
  // All must outlive it. `data`: the ranks that share a step's micro batches, whose number is
  // train.global_batch / train.micro_batch, a multiple of theirs. Source and costs are asked by the
  // thread that makes packs, and by no other.
  StepBatches(const Config& config, const data::BatchSource& source, MicroBatchCost cost,
              const TrainingLoss& loss, parallel::Communicator& data);

  struct Own {
    MicroBatches batches;  // need the StepBatches that gave them
    StepTotals totals;
    double imbalance = 1;  // predicted: a rank's largest cost over the mean
  };
  // Collective over the data ranks. `packs`: of the whole step, in order. Waits for what
  // prepare(packs) began, or begins with it. What the source throws is thrown here, or where a
  // micro batch is taken that another rank has looked at first. The step before must have taken all
  // of its own.
  Own of_step(const std::vector<int64_t>& packs);
  // Returns at once. This rank's share of the step that comes next is made meanwhile, behind what
  // is left to make of this step. A step that does not come after all is forgotten, and what was
  // wrong with it too.
  void prepare(const std::vector<int64_t>& packs);

 private:
  struct Made {
    data::PackedBatch batch;
    double cost = 0;
    int64_t terms = 0;
  };
  // On the thread: no communication, no device, no line of a log.
  Made make(const std::vector<int64_t>& packs) const;
  void begin(const std::vector<int64_t>& packs, int64_t index);
  // The micro batches that this rank looks at first.
  std::vector<int64_t> share(const std::vector<int64_t>& packs) const;

  const Config& config_;
  const data::BatchSource& source_;
  MicroBatchCost cost_;
  const TrainingLoss& loss_;
  parallel::Communicator& data_;
  std::optional<std::vector<int64_t>> prepared_;            // packs of the step that is ahead
  data::OrderedWorkers<std::vector<int64_t>, Made> maker_;  // from the packs of a micro batch
};

}  // namespace elastron::train
