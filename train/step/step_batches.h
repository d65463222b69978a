// The micro batches of a step that this data rank computes.
//
// Which documents a micro batch has follows from its index in the step, and the keys of their noise
// from the documents' places in the step: neither from who computes it. Who does is dealt by
// predicted cost (parallel.balance), as many for each data rank: attention's share grows with the
// square of a document's length, and a step waits for the rank with most to do.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "data/source.h"
#include "model/weights/model_config.h"
#include "parallel/communicator.h"
#include "train/config.h"
#include "train/plan/step_work.h"

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
  // train.global_batch / train.micro_batch, a multiple of theirs.
  StepBatches(const Config& config, const data::BatchSource& source, MicroBatchCost cost,
              parallel::Communicator& data);

  struct Own {
    std::vector<data::PackedBatch> batches;  // in the step's order
    double imbalance = 1;                    // predicted: a rank's largest cost over the mean
  };
  // Collective over the data ranks. `packs`: of the whole step, in order.
  Own of_step(const std::vector<int64_t>& packs) const;

 private:
  const Config& config_;
  const data::BatchSource& source_;
  MicroBatchCost cost_;
  parallel::Communicator& data_;
};

}  // namespace elastron::train
