#include "train/step/loss.h"

namespace elastron::train {

TrainingLoss::Value LanguageModelLoss::evaluate(const Tensor& hidden,
                                                const model::DeviceBatch& batch, double scale,
                                                bool need_hidden,
                                                const std::function<void(Parameter&)>&) {
  // The head's own gradient is reported by Decoder::backward, which may add the embedding's to it.
  auto loss = decoder_.loss(hidden, batch, {.need_gradient = need_hidden, .gradient_scale = scale});
  return {.device_sum = std::move(loss.sum), .d_hidden = std::move(loss.d_hidden)};
}

}  // namespace elastron::train
