// The figures of a training step, of all data ranks together: the same on every rank and on any
// layout.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "core/parameter.h"
#include "data/packed_batch.h"
#include "train/metrics/document_figures.h"

namespace elastron::train {

// Sums over the micro batches of a step and its data ranks.
struct StepSums {
  double data_loss = 0;      // of the labels, or of the pairs: already divided, sums to the step's
  double sparsity_loss = 0;  // likewise
  double tokens = 0;
  double tokens_apart = 0;  // if no prompt were shared
  double labels = 0;
  // (query, key) pairs of a query head, summed over the documents: causal ones, and those of the
  // selected branches as a mean over layers and heads.
  double full_pairs = 0, selected_pairs = 0;
  std::array<DocumentSums, data::kTaskCount> task{};
};

// How evenly tokens were spread over the experts of a layer; means over the layers that have some.
struct ExpertBalance {
  double max = 0;        // the most that an expert got over the mean: 1 where all got as much
  double variation = 0;  // standard deviation over the mean
};

struct StepResult {
  double loss = 0;  // data_loss + sparsity_loss
  StepSums sums;
  std::vector<double> loss_sums;         // TrainingLoss::sums()
  std::optional<ExpertBalance> experts;  // nothing: there are none
  DocumentMeans all;
  std::array<DocumentMeans, data::kTaskCount> task;
  double grad_norm = 0;  // before clipping
  double tau = 0;        // mean over the layers
  std::map<ParameterGroup, double> lr;
  // The most that a data rank had to do over the mean, by predicted operations and by the seconds
  // that its micro batches took.
  double predicted_imbalance = 1, imbalance = 1;
  bool skipped = false;  // non-finite loss or gradient: nothing was updated, on any rank
};

}  // namespace elastron::train
