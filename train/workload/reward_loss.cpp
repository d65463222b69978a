#include "train/workload/reward_loss.h"

#include <algorithm>
#include <cmath>

namespace elastron::train {

// Pairs are known to the whole context group: one of its ranks counts them.
void RewardLoss::count(double loss, double chosen, double rejected, Value& value) {
  if (context_.rank() != 0) return;
  value.sum += loss;
  sums_.pairs += 1;
  sums_.right += chosen > rejected ? 1 : 0;
  sums_.chosen += chosen;
  sums_.rejected += rejected;
  sums_.squares += chosen * chosen + rejected * rejected;
}

double PairSums::deviation() const {
  if (pairs == 0) return 0;
  const double all = (chosen + rejected) / (2 * pairs);
  const double variance = (squares - 2 * pairs * all * all) / std::max(2 * pairs - 1, 1.0);
  return std::sqrt(std::max(variance, 0.0));
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
  // The factor of a response's likelihood depends on its pair: the scores come first, then,
  // response by response, the gradient with its own factor.
  const data::PackedBatch& host = *batch.host;
  const auto [scores, labels] = reward::likelihood_scores(decoder_, hidden, batch, context_);
  Value value;
  // The gradient of the sum of losses to the responses' mean log-probabilities.
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
    const auto loss = decoder_.loss(
        hidden.slice(0, begin, end), targets.subspan(size_t(begin), size_t(end - begin)),
        {.need_gradient = true, .gradient_scale = -scale * d_scores[r] / labels[r]});
    value.d_hidden.slice(0, begin, end).copy_from(loss.d_hidden);
  }
  return value;
}

}  // namespace elastron::train
