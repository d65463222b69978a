#include "train/step/reward_loss.h"

#include <algorithm>
#include <cmath>

namespace elastron::train {

// Pairs are known to the whole context group: one of its ranks counts them.
void RewardLoss::count(double loss, double chosen, double rejected, Value& value) {
  if (context_.rank() != 0) return;
  value.sum += loss;
  sums_[0] += 1;
  sums_[1] += chosen > rejected ? 1 : 0;
  sums_[2] += chosen;
  sums_[3] += rejected;
  sums_[4] += chosen * chosen + rejected * rejected;
}

RewardFigures RewardLoss::figures(std::span<const double> sums) {
  const double n = sums[0];
  if (n == 0) return {};
  const double mean = (sums[2] + sums[3]) / (2 * n);
  const double variance = (sums[4] - 2 * n * mean * mean) / std::max(2 * n - 1, 1.0);
  return {.pairs = int64_t(n),
          .accuracy = sums[1] / n,
          .margin_mean = (sums[2] - sums[3]) / n,
          .reward_chosen_mean = sums[2] / n,
          .reward_rejected_mean = sums[3] / n,
          .reward_std = std::sqrt(std::max(variance, 0.0))};
}

TrainingLoss::Value RewardLoss::evaluate(const Tensor& hidden, const model::DeviceBatch& batch,
                                         double scale, bool need_hidden,
                                         const std::function<void(Parameter&)>& on_gradient) {
  if (head_ == nullptr) return simpo(hidden, batch, scale);
  return bradley_terry(hidden, batch, scale, need_hidden, on_gradient);
}

TrainingLoss::Value RewardLoss::bradley_terry(const Tensor& hidden, const model::DeviceBatch& batch,
                                              double scale, bool need_hidden,
                                              const std::function<void(Parameter&)>& on_gradient) {
  reward::RewardHead::Saved saved;
  const auto [scores, own] = reward::head_scores(*head_, hidden, *batch.host, context_, saved);
  Value value;
  std::vector<double> d_all, d_scores;
  for (size_t p = 0; p < scores.size(); ++p) {
    const auto& score = scores[p];
    const double margin = config_.margin ? batch.host->pairs[p].margin : 0.0;
    const auto loss =
        reward::bradley_terry(score.chosen, score.rejected, margin, config_.label_smoothing);
    count(loss.value, score.chosen, score.mean_rejected(), value);
    d_all.push_back(scale * loss.d_chosen);
    const double each = scale * loss.d_rejected / double(score.rejected.size());
    d_all.insert(d_all.end(), score.rejected.size(), each);
  }
  for (const size_t response : own) d_scores.push_back(d_all[response]);
  const Shape shape{int64_t(d_scores.size())};
  Device& device = hidden.device();
  const Tensor d =
      head_->parameter().value.dtype() == DType::f64
          ? Tensor::from(d_scores, shape, device)
          : Tensor::from(std::vector<float>(d_scores.begin(), d_scores.end()), shape, device);
  value.d_hidden = head_->backward(d, saved, need_hidden);
  if (head_->parameter().trainable) on_gradient(head_->parameter());
  return value;
}

TrainingLoss::Value RewardLoss::simpo(const Tensor& hidden, const model::DeviceBatch& batch,
                                      double scale) {
  // What a response's likelihood counts depends on its pair's: the scores come first, then, per
  // response, the gradient with its own factor.
  const data::PackedBatch& host = *batch.host;
  const auto [scores, labels] =
      reward::likelihood_scores(decoder_, hidden, batch, chunk_rows_, context_);
  Value value;
  // Of the sum of losses, to the responses' mean log-probabilities.
  std::vector<double> d_scores;
  for (const auto& score : scores) {
    const auto loss = reward::simpo(score.chosen, score.mean_rejected(), config_.simpo_settings());
    const double beta = config_.simpo.beta;
    count(loss.value - config_.simpo.nll * score.chosen, beta * score.chosen,
          beta * score.mean_rejected(), value);
    d_scores.push_back(loss.d_chosen - config_.simpo.nll);
    const double each = loss.d_rejected / double(score.rejected.size());
    d_scores.insert(d_scores.end(), score.rejected.size(), each);
  }
  value.d_hidden = Tensor::zeros(hidden.shape(), hidden.dtype(), hidden.device());
  const std::span<const int32_t> targets = host.targets;
  const auto all = reward::responses(host);
  for (int64_t s = 0; s < host.sequences(); ++s) {
    const auto found = all.find(host.whole_sequence(s));
    if (found == all.end()) continue;  // a prompt
    const size_t r = found->second;
    const int64_t begin = host.cu_seqlens[size_t(s)], end = host.cu_seqlens[size_t(s) + 1];
    const auto loss = decoder_.head().loss(hidden.slice(0, begin, end),
                                           targets.subspan(size_t(begin), size_t(end - begin)),
                                           {.need_gradient = true,
                                            .gradient_scale = -scale * d_scores[r] / labels[r],
                                            .chunk_rows = chunk_rows_});
    value.d_hidden.slice(0, begin, end).copy_from(loss.d_hidden);
  }
  return value;
}

}  // namespace elastron::train
