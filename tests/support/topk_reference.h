// The choice of the top k blocks as docs/method.md words it, in double: the oracle of the fast
// versions. On purpose without the rule's own arithmetic.
#pragma once
#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include "tests/support/attention_reference.h"

namespace elastron::testing {

// Mean over the rows [begin, end) of `heads` heads from `head` on, of x [rows, all_heads, dim].
inline std::vector<double> mean_reference(const std::vector<double>& x, int64_t begin, int64_t end,
                                          int64_t head, int64_t heads, int64_t all_heads,
                                          int64_t dim) {
  std::vector<double> mean(size_t(dim), 0.0);
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t h = head; h < head + heads; ++h) {
      for (int64_t d = 0; d < dim; ++d) {
        mean[size_t(d)] += x[size_t((t * all_heads + h) * dim + d)] / double((end - begin) * heads);
      }
    }
  }
  return mean;
}

// [query block] -> key blocks, of one sequence and kv head.
inline std::vector<std::set<int64_t>> topk_reference(const AttentionProblem& p, int64_t sequence,
                                                     int64_t kv_head) {
  const int64_t first = p.cu_seqlens[size_t(sequence)], block = p.topk->block;
  const int64_t length = p.cu_seqlens[size_t(sequence) + 1] - first;
  const auto mean = [&](const std::vector<double>& x, int64_t of, int64_t head, int64_t heads,
                        int64_t all) {
    const int64_t begin = of * block, end = std::min(length, begin + block);
    return mean_reference(x, first + begin, first + end, head, heads, all, p.head_dim);
  };
  std::vector<std::set<int64_t>> rows;
  for (int64_t i = 0; i * block < length; ++i) {
    const auto u = mean(p.q, i, kv_head * p.group(), p.group(), p.q_heads);
    std::set<int64_t> chosen = {i};
    for (int64_t j = 0; j < std::min(p.topk->sink_blocks, i); ++j) chosen.insert(j);
    std::vector<std::pair<double, int64_t>> rest;
    for (int64_t j = 0; j < i; ++j) {
      if (chosen.contains(j)) continue;
      const auto w = mean(p.k, j, kv_head, 1, p.kv_heads);
      double score = 0;
      for (size_t d = 0; d < w.size(); ++d) score += u[d] * w[d];
      rest.emplace_back(-score, j);
    }
    std::sort(rest.begin(), rest.end());
    for (const auto& [score, j] : rest) {
      if (int64_t(chosen.size()) == p.topk->blocks) break;
      chosen.insert(j);
    }
    rows.push_back(std::move(chosen));
  }
  return rows;
}

// Gives the problem its choice of blocks.
inline void choose_topk_by_reference(AttentionProblem& p) {
  using Heads = std::vector<std::vector<std::set<int64_t>>>;
  auto all = std::make_shared<std::vector<Heads>>();
  for (int64_t s = 0; s < p.sequences(); ++s) {
    Heads& heads = all->emplace_back();
    for (int64_t h = 0; h < p.kv_heads; ++h) heads.push_back(topk_reference(p, s, h));
  }
  p.chosen = [all, group = p.group()](int64_t s, int64_t h, int64_t i, int64_t j) {
    return (*all)[size_t(s)][size_t(h / group)][size_t(i)].contains(j);
  };
}

}  // namespace elastron::testing
