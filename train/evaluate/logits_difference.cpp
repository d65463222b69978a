#include "train/evaluate/logits_difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/plural.h"

namespace elastron::train {

namespace {

// log of the sum of exp, with its own largest taken out.
double log_sum_exp(const float* x, int64_t n) {
  const double most = *std::max_element(x, x + n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(double(x[i]) - most);
  return most + std::log(sum);
}

double kl(const float* reference, const float* given, int64_t n) {
  const double of_reference = log_sum_exp(reference, n), of_given = log_sum_exp(given, n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double log_p = double(reference[i]) - of_reference;
    sum += std::exp(log_p) * (log_p - (double(given[i]) - of_given));
  }
  return std::max(sum, 0.0);  // of two that are equal but for the last bits
}

}  // namespace

void LogitsDifference::add(const Tensor& logits, const Tensor& reference) {
  ELASTRON_CHECK(logits.rank() == 2 && logits.shape() == reference.shape(),
                 "logits of other tokens");
  const int64_t rows = logits.size(0), vocab = logits.size(1);
  for (int64_t r = 0; r < rows; ++r) {
    const float* given = logits.data<float>() + r * vocab;
    const float* wanted = reference.data<float>() + r * vocab;
    const double nats = kl(wanted, given, vocab);
    kl_ += nats;
    worst_ = std::max(worst_, nats);
    same_ += std::max_element(given, given + vocab) - given ==
                     std::max_element(wanted, wanted + vocab) - wanted
                 ? 1
                 : 0;
  }
  tokens_ += rows;
}

std::string LogitsDifference::summary(parallel::Communicator& group) const {
  std::array sums = {kl_};
  std::array most = {worst_};
  std::array counts = {tokens_, same_};
  group.all_reduce_host(sums, parallel::ReduceOp::sum);
  group.all_reduce_host(most, parallel::ReduceOp::max);
  group.all_reduce_host(counts, parallel::ReduceOp::sum);
  return fmt::format(
      "KL per token mean {:.3e}, largest {:.3e} nats; the same first choice for {:.2f} % of {}",
      sums[0] / double(counts[0]), most[0], 100 * double(counts[1]) / double(counts[0]),
      plural(counts[0], "token"));
}

}  // namespace elastron::train
