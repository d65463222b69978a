// What a step minimises on a micro batch's hidden states: a sum of terms, of which the step takes
// the mean. The training step is the same for all of them.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "core/parameter.h"
#include "model/decoder.h"

namespace elastron::train {

class TrainingLoss {
 public:
  virtual ~TrainingLoss() = default;

  // Terms of a micro batch: labels, or pairs. Known before the forward pass.
  virtual int64_t terms(const data::PackedBatch& batch) const = 0;
  // Labels for which logits are computed.
  virtual int64_t labels(const data::PackedBatch& batch) const = 0;

  struct Value {
    double sum = 0;  // of the terms' losses: this rank's part of the context group's
    // [T, E] gradient of scale * sum to the hidden states; undefined unless asked for.
    Tensor d_hidden;
  };
  // hidden [T, E] after the final norm. Adds scale times its gradient to what trains of the loss's
  // own parameters, and with `last` calls on_gradient with them.
  virtual Value evaluate(const Tensor& hidden, const model::DeviceBatch& batch, double scale,
                         bool need_hidden, const std::function<void(Parameter&)>& on_gradient) = 0;

  // Figures summed over the batches since the last reset: added up over ranks by the step, of the
  // data and of the context axis.
  virtual std::span<double> sums() { return {}; }
};

// Cross-entropy of the labels (docs/method.md, Language-model loss).
class LanguageModelLoss final : public TrainingLoss {
 public:
  // chunk_rows: as in parallel::CrossEntropyOptions. The decoder must outlive the loss.
  LanguageModelLoss(model::Decoder& decoder, int64_t chunk_rows)
      : decoder_(decoder), chunk_rows_(chunk_rows) {}

  int64_t terms(const data::PackedBatch& batch) const override { return batch.labels(); }
  int64_t labels(const data::PackedBatch& batch) const override { return batch.labels(); }
  Value evaluate(const Tensor& hidden, const model::DeviceBatch& batch, double scale,
                 bool need_hidden, const std::function<void(Parameter&)>& on_gradient) override;

 private:
  model::Decoder& decoder_;
  int64_t chunk_rows_;
};

}  // namespace elastron::train
