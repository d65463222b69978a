// Floating-point operations of a training step, from shapes and gates: for the metrics that compare
// a run with its GPU. Matrix products and attention only; a multiply-add is two.
#pragma once
#include <cstdint>

#include "model/decoder_config.h"
#include "model/weights/model_config.h"

namespace elastron::model {

struct StepShape {
  int64_t tokens = 0, labels = 0;
  // Pairs of query and key that a query head sees, summed over the documents: causal, and of the
  // selected branch as a mean over layers and heads.
  double full_pairs = 0, selected_pairs = 0;
  bool both_branches = false;  // a router is trained
  bool backward = true;        // false: only a head is trained
};

struct StepWork {
  double done = 0;              // with what is computed again and both branches; tiles as pairs
  double dense_equivalent = 0;  // what the same training takes with full attention, nothing twice
};

StepWork step_work(const ModelConfig& config, const DecoderOptions& options,
                   const StepShape& shape);

}  // namespace elastron::model
