// What a data rank computes of a step: micro batches in the step's order, each there by when its
// turn comes, so that the first is computed while the last may still be made.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <utility>

#include "data/packed_batch.h"
#include "train/step/loss.h"

namespace elastron::train {

class MicroBatches {
 public:
  // `next` is called once for each number from 0 to count - 1, in order, when its turn comes. It
  // may wait, and what it throws is thrown there.
  MicroBatches(int64_t count, std::function<data::PackedBatch(int64_t)> next)
      : count_(count), next_(std::move(next)) {}
  // All alike.
  MicroBatches(int64_t count, data::PackedBatch batch)
      : MicroBatches(count, [batch = std::move(batch)](int64_t) { return batch; }) {}

  int64_t size() const { return count_; }
  // Stays where it is as long as these do.
  const data::PackedBatch& operator[](int64_t i) {
    while (int64_t(taken_.size()) <= i) taken_.push_back(next_(int64_t(taken_.size())));
    return taken_[size_t(i)];
  }

 private:
  int64_t count_;
  std::function<data::PackedBatch(int64_t)> next_;
  std::deque<data::PackedBatch> taken_;
};

// Of all data ranks together: what a step's means are taken over.
struct StepTotals {
  int64_t micro_batches = 0;
  int64_t terms = 0;  // of the loss
  int64_t packs = 0;

  static StepTotals of_alike(int64_t micro_batches, const data::PackedBatch& batch,
                             const TrainingLoss& loss) {
    return {.micro_batches = micro_batches,
            .terms = micro_batches * loss.terms(batch),
            .packs = micro_batches * batch.packs()};
  }
};

}  // namespace elastron::train
