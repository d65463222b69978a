// Pairwise losses of reward training, on numbers: what a step does with its pairs' scores is a few
// hundred operations, on the host, in double. Gradients are of the sum over the pairs; the caller
// divides by what it averages over. (docs/method.md, Pair losses)
#pragma once
#include <cstdint>
#include <span>

namespace elastron::reward {

// softplus(-x), that is -log sigmoid(x), and its derivative -sigmoid(-x): exact to rounding for any
// finite x.
struct Softplus {
  double value = 0, derivative = 0;
};
Softplus negative_log_sigmoid(double x);

// -log sigmoid(x) with a share `smoothing` of the label's weight on the other order:
// (1 - e) softplus(-x) + e softplus(x).
Softplus smoothed_loss(double x, double smoothing);

struct PairLoss {
  double value = 0;
  double d_chosen = 0, d_rejected = 0;
};

// x = chosen - rejected - margin. `rejected`: of one or more responses, which are averaged before
// they are compared; d_rejected is the derivative with respect to their mean.
PairLoss bradley_terry(double chosen, std::span<const double> rejected, double margin,
                       double smoothing);

// Reference-free, on mean log-probabilities per response token: x = beta (chosen - rejected) -
// gamma. The hinge form is relu(1 - x).
struct SimpoSettings {
  double beta = 2.5, gamma = 0.5, smoothing = 0;
  bool hinge = false;
};
PairLoss simpo(double chosen, double rejected, const SimpoSettings& settings);

}  // namespace elastron::reward
