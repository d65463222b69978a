#include "inference/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/philox.h"

namespace elastron::inference {

int32_t next_token(std::span<const float> logits, const Sampling& sampling, int64_t position) {
  if (std::ranges::any_of(logits, [](float x) { return std::isnan(x); })) {
    throw NumericalError("a logit is not a number", "position " + std::to_string(position),
                         "check the model's weights, or compute in float32");
  }
  const auto largest = std::ranges::max_element(logits);
  if (sampling.temperature == 0) return int32_t(largest - logits.begin());

  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(
      order, [&](int32_t a, int32_t b) { return logits[size_t(a)] > logits[size_t(b)]; });
  if (sampling.top_k > 0 && size_t(sampling.top_k) < order.size()) {
    order.resize(size_t(sampling.top_k));
  }
  std::vector<double> weight;
  double all = 0;
  for (const int32_t id : order) {
    weight.push_back(
        std::exp((double(logits[size_t(id)]) - double(*largest)) / sampling.temperature));
    all += weight.back();
  }
  // The token that reaches top_p is still among them. The likeliest one has the weight 1.
  size_t kept = 0;
  double among = 0;
  while (kept < weight.size() &&
         (kept == 0 || (among < sampling.top_p * all && weight[kept] >= sampling.min_p))) {
    among += weight[kept++];
  }
  const RandomStream stream(sampling.seed, RandomPurpose::next_token, uint32_t(position),
                            uint32_t(sampling.stream), uint32_t(sampling.stream >> 32));
  double left = double(stream.uniform_at(0)) * among;
  for (size_t i = 0; i < kept; ++i) {
    left -= weight[i];
    if (left < 0) return order[i];
  }
  return order[kept - 1];
}

}  // namespace elastron::inference
