// A step minimises a loss on a micro batch's hidden states: a sum of terms, of which it takes the
// mean. The training step is the same for all losses.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "core/parameter.h"
#include "model/decoder.h"

namespace elastron::train {

class TrainingLoss {
 public:
  virtual ~TrainingLoss() = default;

  // Terms of a micro batch: labels, or pairs. Known before the forward pass, and of the batch alone:
  // another thread asks as well.
  virtual int64_t terms(const data::PackedBatch& batch) const = 0;
  // Labels for which logits are computed.
  virtual int64_t labels(const data::PackedBatch& batch) const = 0;

  struct Value {
    // Of the terms' losses: this rank's part of the context group's. What the host has of it, and
    // what lies on the device, [1] float64, which is not waited for; undefined: nothing.
    double sum = 0;
    Tensor device_sum;
    // [T, E] gradient of scale * sum to the hidden states; undefined unless asked for.
    Tensor d_hidden;
  };
  // hidden [T, E] after the final norm. Adds scale times its gradient to what trains of the loss's
  // own parameters, and with `last` calls on_gradient with them.
  virtual Value evaluate(const Tensor& hidden, const model::DeviceBatch& batch, double scale,
                         bool need_hidden, const std::function<void(Parameter&)>& on_gradient) = 0;

  // Figures summed over the batches since the last reset (train/metrics/sums.h). The step adds them
  // up over the ranks of the data and of the context axis.
  virtual std::vector<double> sums() const { return {}; }
  virtual void reset() {}
};

// Cross-entropy of the labels (docs/method.md, Language-model loss).
class LanguageModelLoss final : public TrainingLoss {
 public:
  // The decoder must outlive the loss.
  explicit LanguageModelLoss(model::Decoder& decoder) : decoder_(decoder) {}

  int64_t terms(const data::PackedBatch& batch) const override { return batch.labels(); }
  int64_t labels(const data::PackedBatch& batch) const override { return batch.labels(); }
  Value evaluate(const Tensor& hidden, const model::DeviceBatch& batch, double scale,
                 bool need_hidden, const std::function<void(Parameter&)>& on_gradient) override;

 private:
  model::Decoder& decoder_;
};

}  // namespace elastron::train
