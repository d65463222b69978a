// Floating-point operations of a training step: of what runs (a step on a meta device), counted for
// a unit of each thing that batches differ in.
#pragma once
#include "model/weights/model_config.h"
#include "train/config.h"

namespace elastron::train {

// The amounts that the operations of a micro batch, or of a step, are proportional to.
struct WorkAmounts {
  double tokens = 0, labels = 0, documents = 0;
  // Pairs of query and key of a query head, summed over the documents: that both branches read
  // together, and those of the selected branch as a mean over layers and heads.
  double both_pairs = 0, selected_pairs = 0;
};

class StepWork {
 public:
  // Counted for the whole model on one rank; the same on every rank of any layout.
  StepWork(const Config& config, const model::ModelConfig& model);

  // With what is computed again and both branches, where the configuration has it so. Matrix
  // products and attention; a multiply-add is two.
  double done(const WorkAmounts& amounts) const;
  // The same training with full attention and nothing computed twice; `full_pairs`: causal ones.
  double dense_equivalent(const WorkAmounts& amounts, double full_pairs) const;

 private:
  // Operations per unit.
  struct Rates {
    double token = 0, label = 0, document = 0, both_pair = 0, selected_pair = 0;
    double of(const WorkAmounts& amounts) const;
  };
  static Rates rates_of(const Config& config, const model::ModelConfig& model);

  Rates done_, dense_;
};

}  // namespace elastron::train
