#include "reward/loss.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace elastron::reward {

Softplus negative_log_sigmoid(double x) {
  const double tail = std::exp(-std::abs(x));  // never overflows
  const double share = x >= 0 ? tail / (1 + tail) : 1 / (1 + tail);
  return {std::max(-x, 0.0) + std::log1p(tail), -share};
}

Softplus smoothed_loss(double x, double smoothing) {
  const Softplus right = negative_log_sigmoid(x);
  if (smoothing == 0) return right;
  const Softplus wrong = negative_log_sigmoid(-x);
  return {(1 - smoothing) * right.value + smoothing * wrong.value,
          (1 - smoothing) * right.derivative - smoothing * wrong.derivative};
}

PairLoss bradley_terry(double chosen, std::span<const double> rejected, double margin,
                       double smoothing) {
  ELASTRON_CHECK(!rejected.empty(), "a pair has a rejected response");
  double mean = 0;
  for (const double score : rejected) mean += score;
  mean /= double(rejected.size());
  const Softplus loss = smoothed_loss(chosen - mean - margin, smoothing);
  return {loss.value, loss.derivative, -loss.derivative};
}

PairLoss simpo(double chosen, double rejected, const SimpoSettings& s) {
  const double x = s.beta * (chosen - rejected) - s.gamma;
  Softplus loss;
  if (s.hinge) {
    loss = {std::max(1 - x, 0.0), x < 1 ? -1.0 : 0.0};
  } else {
    loss = smoothed_loss(x, s.smoothing);
  }
  return {loss.value, s.beta * loss.derivative, -s.beta * loss.derivative};
}

}  // namespace elastron::reward
