// Figures of the scores of judged pairs: accuracy with its interval, margins, calibration, length
// bias. (docs/method.md, Evaluation figures)
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace elastron::reward {

// One pair's scores. Several rejected responses count by their mean score and the longest.
struct JudgedPair {
  double chosen = 0, rejected = 0;
  int64_t tokens_chosen = 0, tokens_rejected = 0;
  double margin() const { return chosen - rejected; }
};

struct Interval {
  double low = 0, high = 0;
};
// Wilson's 95 % interval of a share: good for few rows and for shares near 0 and 1.
Interval wilson_interval(double successes, double count);

struct Accuracy {
  int64_t pairs = 0;
  int64_t right = 0, ties = 0;
  double strict() const { return pairs == 0 ? 0 : double(right) / double(pairs); }
  // A tie is worth a half.
  double tie_aware() const {
    return pairs == 0 ? 0 : (double(right) + 0.5 * double(ties)) / double(pairs);
  }
};
Accuracy accuracy(std::span<const JudgedPair> pairs);

struct Moments {
  double mean = 0, deviation = 0;  // of the sample (n - 1); 0 for fewer than two
};
Moments moments(std::span<const double> values);

// The mean of the two middle values where their number is even; 0 for none.
double median(std::span<const double> values);

// Exact two-sided p of McNemar's test that two judges of the same pairs are equally often right:
// `only_first` pairs only the first gets right, `only_second` only the second. 1 for none of
// either.
double mcnemar(int64_t only_first, int64_t only_second);

// A judge, by the strict rule, against preferring the longer response.
struct PairedTest {
  int64_t pairs = 0;         // of different lengths
  int64_t equal_length = 0;  // left out: preferring the longer one says nothing there
  int64_t only_judge = 0, only_longer = 0;  // right where the other is wrong
  double p() const { return mcnemar(only_judge, only_longer); }
};
PairedTest against_longer_wins(std::span<const JudgedPair> pairs);

struct Calibration {
  double bradley_terry = 0;  // mean loss
  double brier = 0;          // mean (1 - p)^2, p = sigmoid(margin)
  double ece = 0;            // over equal bins of the confidence max(p, 1 - p) in [0.5, 1]
  double temperature = 0;    // T > 0 that minimises the loss of margin / T; 0: none does
};
Calibration calibration(std::span<const JudgedPair> pairs, int bins = 5);

struct LengthBias {
  double correlation = 0;      // of margin and token difference; 0 where either is constant
  double longer_wins = 0;      // accuracy of preferring the longer response, a tie worth a half
  Accuracy chosen_is_shorter;  // of the judge on those pairs
  double shorter_wins() const { return 1 - longer_wins; }
};
LengthBias length_bias(std::span<const JudgedPair> pairs);

// Probability that a chosen response scores above a rejected one of any row; ties a half.
double pooled_auc(std::span<const JudgedPair> pairs);

// Ten equal bins from the lowest to the highest value.
std::array<int64_t, 10> histogram(std::span<const double> values);

}  // namespace elastron::reward
