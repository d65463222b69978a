// XAttention's choice as docs/method.md, XAttention, words it, one product at a time, in double:
// the oracle of the fast versions. On purpose without ops/detail/xattention_math.h and without
// whole units.
#pragma once
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <set>
#include <vector>

#include "tests/support/attention_reference.h"

namespace elastron::testing {

// [query block][key block], of one sequence and query head.
using Masses = std::vector<std::vector<double>>;

inline int64_t ceil_of(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline Masses mass_reference(const AttentionProblem& p, int64_t sequence, int64_t head) {
  const int64_t first = p.cu_seqlens[size_t(sequence)];
  const int64_t length = p.cu_seqlens[size_t(sequence) + 1] - first, dim = p.head_dim;
  const int64_t stride = p.xattention.stride, each = p.xattention.block / stride;
  const int64_t groups = ceil_of(length, stride);
  const auto q = [&](int64_t i, int64_t d) {
    return i < length ? p.q[size_t(((first + i) * p.q_heads + head) * dim + d)] : 0.0;
  };
  const auto k = [&](int64_t i, int64_t d) {
    return i < length ? p.k[size_t(((first + i) * p.kv_heads + head / p.group()) * dim + d)] : 0.0;
  };
  Masses mass(size_t(ceil_of(length, p.xattention.block)));
  for (size_t i = 0; i < mass.size(); ++i) mass[i].assign(i + 1, 0.0);
  for (int64_t a = 0; a < groups; ++a) {
    std::vector<double> score;
    for (int64_t b = 0; b <= a; ++b) {
      double sum = 0;
      for (int64_t j = 0; j < stride; ++j) {
        for (int64_t d = 0; d < dim; ++d) {
          sum += q(a * stride + stride - 1 - j, d) * k(b * stride + j, d);
        }
      }
      score.push_back(sum * p.scale / double(stride));
    }
    const double top = *std::max_element(score.begin(), score.end());
    double total = 0;
    for (double& x : score) total += x = std::exp(x - top);
    for (int64_t b = 0; b <= a; ++b) {
      mass[size_t(a / each)][size_t(b / each)] += score[size_t(b)] / total;
    }
  }
  return mass;
}

// docs/method.md, XAttention; `lagging`: First chunk.
inline std::set<int64_t> selection_reference(const std::vector<double>& mass, double need,
                                             bool lagging) {
  const auto own = int64_t(mass.size()) - 1;
  std::set<int64_t> chosen = {0, own};
  std::vector<int64_t> order;
  for (int64_t j = lagging ? 0 : 1; j < own; ++j) order.push_back(j);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return mass[size_t(a)] > mass[size_t(b)]; });
  for (size_t n = 0; n < order.size(); ++n) {
    double sum = mass[size_t(own)] + (!lagging && own != 0 ? mass[0] : 0.0);
    const size_t counted = lagging ? (n > 0 ? n - 1 : 0) : n;
    for (size_t m = 0; m < counted; ++m) sum += mass[size_t(order[m])];
    if (lagging && n == 0 ? need <= 0 : sum >= need) break;
    chosen.insert(order[n]);
  }
  return chosen;
}

// [sequence][head][query block].
using Choice = std::vector<std::vector<std::vector<std::set<int64_t>>>>;

inline Choice choice_reference(const AttentionProblem& p) {
  const int64_t each = p.xattention.block / p.xattention.stride;
  Choice choice(size_t(p.sequences()));
  for (int64_t s = 0; s < p.sequences(); ++s) {
    const int64_t length = p.cu_seqlens[size_t(s) + 1] - p.cu_seqlens[size_t(s)];
    const int64_t groups = ceil_of(length, p.xattention.stride);
    // The published code's chunk, from the first sequence of a batch.
    const int64_t whole = p.cu_seqlens[1] - p.cu_seqlens[0];
    int64_t power = 1;
    while (power < whole) power *= 2;
    const int64_t chunk = std::max<int64_t>(
        2048, std::min<int64_t>(std::max<int64_t>(2048, power), (int64_t{1} << 28) / power));
    for (int64_t h = 0; h < p.q_heads; ++h) {
      std::vector<std::set<int64_t>> rows;
      const Masses mass = mass_reference(p, s, h);
      for (size_t i = 0; i < mass.size(); ++i) {
        const int64_t here = std::min(groups, (int64_t(i) + 1) * each) - int64_t(i) * each;
        rows.push_back(
            selection_reference(mass[i], p.xattention.threshold * double(here),
                                p.xattention.reference && int64_t(i) * p.xattention.block < chunk));
      }
      choice[size_t(s)].push_back(std::move(rows));
    }
  }
  return choice;
}

// Gives the problem its choice of blocks.
inline void choose_by_reference(AttentionProblem& p) {
  p.chosen = [choice = std::make_shared<Choice>(choice_reference(p))](int64_t s, int64_t h,
                                                                      int64_t i, int64_t j) {
    return (*choice)[size_t(s)][size_t(h)][size_t(i)].contains(j);
  };
}

}  // namespace elastron::testing
