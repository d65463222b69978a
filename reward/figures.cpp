#include "reward/figures.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "reward/loss.h"

namespace elastron::reward {

namespace {

double sigmoid(double x) { return -negative_log_sigmoid(-x).derivative; }

double mean_of(std::span<const JudgedPair> pairs, const auto& value) {
  double sum = 0;
  for (const JudgedPair& p : pairs) sum += value(p);
  return pairs.empty() ? 0 : sum / double(pairs.size());
}

// The loss is convex in 1/T: its slope is followed to zero by halving.
double fitted_temperature(std::span<const JudgedPair> pairs) {
  const auto slope = [&](double inverse) {
    return mean_of(pairs, [&](const JudgedPair& p) {
      return p.margin() * negative_log_sigmoid(inverse * p.margin()).derivative;
    });
  };
  // At 0 it is minus half the mean margin: a judge that is wrong on the whole has no temperature,
  // nor has one that is never wrong.
  const bool ever_wrong =
      std::any_of(pairs.begin(), pairs.end(), [](const auto& p) { return p.margin() < 0; });
  if (!ever_wrong || slope(0) >= 0) return 0;
  double low = 0, high = 1;
  while (slope(high) < 0) {
    low = high;
    high *= 2;
  }
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (slope(middle) < 0 ? low : high) = middle;
  }
  return 2 / (low + high);
}

}  // namespace

Interval wilson_interval(double successes, double count) {
  if (count <= 0) return {0, 1};
  constexpr double kZ = 1.959963984540054;
  const double share = successes / count, z2 = kZ * kZ;
  const double middle = (share + z2 / (2 * count)) / (1 + z2 / count);
  const double half =
      kZ / (1 + z2 / count) * std::sqrt(share * (1 - share) / count + z2 / (4 * count * count));
  return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

Accuracy accuracy(std::span<const JudgedPair> pairs) {
  Accuracy a;
  for (const JudgedPair& p : pairs) {
    ++a.pairs;
    if (p.chosen > p.rejected) ++a.right;
    if (p.chosen == p.rejected) ++a.ties;
  }
  return a;
}

Moments moments(std::span<const double> values) {
  Moments m;
  if (values.empty()) return m;
  for (const double v : values) m.mean += v;
  m.mean /= double(values.size());
  if (values.size() < 2) return m;
  for (const double v : values) m.deviation += (v - m.mean) * (v - m.mean);
  m.deviation = std::sqrt(m.deviation / double(values.size() - 1));
  return m;
}

double median(std::span<const double> values) {
  if (values.empty()) return 0;
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

double mcnemar(int64_t only_first, int64_t only_second) {
  // The rarer side of n tosses of a fair coin; logarithms, as 2^n overflows.
  const int64_t n = only_first + only_second, rarer = std::min(only_first, only_second);
  double tail = 0;
  for (int64_t k = 0; k <= rarer; ++k) {
    tail += std::exp(std::lgamma(double(n + 1)) - std::lgamma(double(k + 1)) -
                     std::lgamma(double(n - k + 1)) - double(n) * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

PairedTest against_longer_wins(std::span<const JudgedPair> pairs) {
  PairedTest test;
  for (const JudgedPair& p : pairs) {
    if (p.tokens_chosen == p.tokens_rejected) {
      ++test.equal_length;
      continue;
    }
    ++test.pairs;
    const bool judge = p.chosen > p.rejected, longer = p.tokens_chosen > p.tokens_rejected;
    if (judge && !longer) ++test.only_judge;
    if (longer && !judge) ++test.only_longer;
  }
  return test;
}

Calibration calibration(std::span<const JudgedPair> pairs, int bins) {
  ELASTRON_CHECK(bins > 0, "bins of a calibration");
  Calibration c;
  if (pairs.empty()) return c;
  struct Bin {
    double confidence = 0, right = 0, count = 0;
  };
  std::vector<Bin> all(static_cast<size_t>(bins));
  for (const JudgedPair& p : pairs) {
    const double probability = sigmoid(p.margin());
    const double confidence = std::max(probability, 1 - probability);
    const int bin = std::min(bins - 1, int((confidence - 0.5) * 2 * bins));
    Bin& b = all[size_t(bin)];
    b.confidence += confidence;
    b.right += p.margin() > 0 ? 1 : 0;
    b.count += 1;
  }
  for (const Bin& b : all) c.ece += std::abs(b.confidence - b.right);
  c.ece /= double(pairs.size());
  c.bradley_terry =
      mean_of(pairs, [](const JudgedPair& p) { return negative_log_sigmoid(p.margin()).value; });
  c.brier = mean_of(pairs, [](const JudgedPair& p) {
    const double wrong = sigmoid(-p.margin());
    return wrong * wrong;
  });
  c.temperature = fitted_temperature(pairs);
  return c;
}

LengthBias length_bias(std::span<const JudgedPair> pairs) {
  LengthBias bias;
  const auto difference = [](const JudgedPair& p) {
    return double(p.tokens_chosen - p.tokens_rejected);
  };
  const double mean_margin = mean_of(pairs, [](const JudgedPair& p) { return p.margin(); });
  const double mean_difference = mean_of(pairs, difference);
  double both = 0, margins = 0, differences = 0;
  std::vector<JudgedPair> shorter;
  for (const JudgedPair& p : pairs) {
    const double m = p.margin() - mean_margin, d = difference(p) - mean_difference;
    both += m * d;
    margins += m * m;
    differences += d * d;
    if (difference(p) < 0) shorter.push_back(p);
  }
  if (margins > 0 && differences > 0) bias.correlation = both / std::sqrt(margins * differences);
  bias.longer_wins = mean_of(pairs, [&](const JudgedPair& p) {
    return difference(p) > 0 ? 1.0 : difference(p) == 0 ? 0.5 : 0.0;
  });
  bias.chosen_is_shorter = accuracy(shorter);
  return bias;
}

double pooled_auc(std::span<const JudgedPair> pairs) {
  if (pairs.empty()) return 0.5;
  std::vector<double> rejected;
  for (const JudgedPair& p : pairs) rejected.push_back(p.rejected);
  std::sort(rejected.begin(), rejected.end());
  double below = 0;
  for (const JudgedPair& p : pairs) {
    const auto [first, last] = std::equal_range(rejected.begin(), rejected.end(), p.chosen);
    below += double(first - rejected.begin()) + 0.5 * double(last - first);
  }
  return below / (double(pairs.size()) * double(pairs.size()));
}

std::array<int64_t, 10> histogram(std::span<const double> values) {
  std::array<int64_t, 10> counts{};
  if (values.empty()) return counts;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  for (const double v : values) {
    const double place = *high > *low ? (v - *low) / (*high - *low) : 0;
    ++counts[size_t(std::min(9, int(place * 10)))];
  }
  return counts;
}

}  // namespace elastron::reward
