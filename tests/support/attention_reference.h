// Routed attention written as the formulas say it (docs/method.md, Head mixing, Streaming and
// Modes), one pair at a time: the oracle of every fast version. Arithmetic in A; outputs that are
// stored pass through Storage, so that reference<float, bf16> is what a plain bf16 implementation
// commits.
#pragma once
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "ops/head_pattern.h"

namespace elastron::testing {

// Pairs of key sets, retrieval and sparse.
inline constexpr ops::KeySetPair kFaSsa{ops::KeySetKind::full, ops::KeySetKind::streaming};
inline constexpr ops::KeySetPair kFaXa{ops::KeySetKind::full, ops::KeySetKind::blocks};
inline constexpr ops::KeySetPair kXaSsa{ops::KeySetKind::blocks, ops::KeySetKind::streaming};
inline constexpr ops::KeySetPair kPairs[] = {kFaSsa, kFaXa, kXaSsa};

inline std::string name_of(const ops::KeySetPair& pair) {
  const auto name = [](ops::KeySetKind kind) {
    switch (kind) {
      case ops::KeySetKind::full: return "full";
      case ops::KeySetKind::streaming: return "streaming";
      case ops::KeySetKind::blocks: return "blocks";
    }
    return "?";
  };
  return std::string(name(pair.retrieval)) + "-" + name(pair.sparse);
}

struct AttentionProblem {
  int64_t q_heads = 1, kv_heads = 1, head_dim = 1;
  std::vector<int32_t> cu_seqlens = {0};
  std::vector<int32_t> cu_keys;  // empty: as cu_seqlens; otherwise k and v hold that many, unpadded
  // As ops::Varlen has them, of sequences that are parts of others.
  std::vector<int32_t> whole_lengths;
  int64_t first_whole_length = -1;
  int64_t padding = 0;  // tokens behind the last sequence
  ops::KeySetPair sets = kFaSsa;
  ops::StreamingRule rule;
  ops::XAttentionRule xattention;
  std::optional<ops::TopkRule> topk;  // chooses in place of XAttention
  // Whether key block J was chosen for query block I of a query head; set by whoever wants a pair
  // with blocks (tests/support/xattention_reference.h).
  std::function<bool(int64_t sequence, int64_t head, int64_t I, int64_t J)> chosen;
  double scale = 1;
  std::vector<uint8_t> gate;           // [sequences, kv_heads]
  std::vector<double> q, k, v, d_out;  // [tokens, heads, head_dim]

  int64_t tokens() const { return cu_seqlens.back() + padding; }
  int64_t keys() const { return cu_keys.empty() ? tokens() : cu_keys.back(); }
  int64_t sequences() const { return int64_t(cu_seqlens.size()) - 1; }
  int64_t group() const { return q_heads / kv_heads; }
  int64_t block() const { return topk ? topk->block : xattention.block; }
  ops::HeadPattern pattern() const { return {set(sets.retrieval), set(sets.sparse)}; }

 private:
  ops::KeySet set(ops::KeySetKind kind) const {
    if (topk) return {.kind = kind, .rule = rule, .chooser = *topk};
    return {.kind = kind, .rule = rule, .chooser = xattention};
  }
};

enum class Gates { full, sparse, mixed };

// Sequences of these lengths, the usual scale, no numbers yet.
inline AttentionProblem attention_problem(int64_t q_heads, int64_t kv_heads, int64_t head_dim,
                                          const std::vector<int32_t>& lengths, Gates gates) {
  AttentionProblem p;
  p.q_heads = q_heads;
  p.kv_heads = kv_heads;
  p.head_dim = head_dim;
  for (const int32_t n : lengths) p.cu_seqlens.push_back(p.cu_seqlens.back() + n);
  p.scale = 1 / std::sqrt(double(head_dim));
  for (size_t i = 0; i < lengths.size() * size_t(kv_heads); ++i) {
    p.gate.push_back(gates == Gates::full || (gates == Gates::mixed && (i * 7 / 3) % 2 == 0));
  }
  return p;
}

// Every score is +10^4 or -10^4: rows that see only the lowest, and rows with ties at the top.
inline void fill_extreme(AttentionProblem& p) {
  p.scale = 1;
  const double each = std::sqrt(1e4 / double(p.head_dim));
  for (double& x : p.q) x = each;
  const int64_t row = p.kv_heads * p.head_dim;
  for (size_t i = 0; i < p.k.size(); ++i) p.k[i] = int64_t(i) / row / 40 % 2 == 0 ? -each : each;
}

// Normal values that Storage holds exactly; `spread` widens the scores.
template <class Storage>
void fill_problem(AttentionProblem& p, uint64_t seed, double spread = 1.0) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal;
  const auto draw = [&](std::vector<double>& values, int64_t rows, int64_t heads, double factor) {
    values.resize(size_t(rows * heads * p.head_dim));
    for (double& x : values) x = double(Storage(float(factor * normal(engine))));
  };
  draw(p.q, p.tokens(), p.q_heads, spread);
  draw(p.k, p.keys(), p.kv_heads, 1);
  draw(p.v, p.keys(), p.kv_heads, 1);
  draw(p.d_out, p.tokens(), p.q_heads, 1);
}

template <class A>
struct AttentionAnswer {
  std::vector<A> full, sparse;          // [tokens, q_heads, head_dim]: retrieval, sparse branch
  std::vector<A> lse_full, lse_sparse;  // [tokens, q_heads]
  std::vector<A> dq, dk, dv;            // through the selected branch
  std::vector<A> d_gate;                // [sequences, kv_heads]
};

// The rule as docs/method.md, Streaming and Modes (`triangle`) word it, on purpose not through
// StreamingRule's own arithmetic. `length`: positions of the whole sequence.
inline bool spec_visible(const ops::StreamingRule& rule, int64_t query, int64_t key,
                         int64_t length) {
  if (key > query) return false;
  if (query >= length - rule.dense_tail) return true;
  return key / rule.block < rule.sink_blocks ||
         query / rule.block - key / rule.block < rule.local_blocks;
}

template <class A, class Storage>
AttentionAnswer<A> attention_reference(const AttentionProblem& p) {
  AttentionAnswer<A> out;
  const int64_t dim = p.head_dim, group = p.group();
  const auto rounded = [](A x) { return A(Storage(x)); };
  out.full.assign(p.q.size(), A(0));
  out.sparse = out.dq = out.full;
  out.dk.assign(p.k.size(), A(0));
  out.dv = out.dk;
  out.lse_full.assign(size_t(p.tokens() * p.q_heads), A(0));
  out.lse_sparse = out.lse_full;
  out.d_gate.assign(p.gate.size(), A(0));

  for (int64_t s = 0; s < p.sequences(); ++s) {
    // Positions: keys are 0 to length, queries the last of them.
    const auto& key_bounds = p.cu_keys.empty() ? p.cu_seqlens : p.cu_keys;
    const int64_t first_key = key_bounds[size_t(s)];
    const int64_t length = key_bounds[size_t(s) + 1] - first_key;
    const int64_t offset = length - (p.cu_seqlens[size_t(s) + 1] - p.cu_seqlens[size_t(s)]);
    const int64_t first = p.cu_seqlens[size_t(s)] - offset;
    const int64_t whole = p.whole_lengths.empty() ? length : p.whole_lengths[size_t(s)];
    const auto visible = [&](bool open, int64_t sequence, int64_t head, int64_t i, int64_t j) {
      const ops::KeySetKind set = p.sets.of(open);
      if (set == ops::KeySetKind::full) return true;
      if (set == ops::KeySetKind::streaming) return spec_visible(p.rule, i, j, whole);
      const int64_t block = p.block();
      return p.chosen(sequence, head, i / block, j / block);
    };
    for (int64_t h = 0; h < p.q_heads; ++h) {
      const int64_t kv = h / group;
      const size_t gate = size_t(s * p.kv_heads + kv);
      for (int64_t i = offset; i < length; ++i) {
        const size_t row = size_t((first + i) * p.q_heads + h);
        const auto q_at = [&](int64_t d) { return size_t(row * size_t(dim) + size_t(d)); };
        const auto k_at = [&](int64_t j, int64_t d) {
          return size_t(((first_key + j) * p.kv_heads + kv) * dim + d);
        };
        std::vector<A> score(size_t(i) + 1);
        for (int64_t j = 0; j <= i; ++j) {
          A dot = 0;
          for (int64_t d = 0; d < dim; ++d) dot += A(p.q[q_at(d)]) * A(p.k[k_at(j, d)]);
          score[size_t(j)] = dot * A(p.scale);
        }
        const auto branch = [&](bool full, std::vector<A>& o, std::vector<A>& lse) {
          const auto seen = [&](int64_t j) { return visible(full, s, h, i, j); };
          A top = -std::numeric_limits<A>::infinity(), sum = 0;
          for (int64_t j = 0; j <= i; ++j) {
            if (seen(j)) top = std::max(top, score[size_t(j)]);
          }
          std::vector<A> value(size_t(dim), A(0));
          for (int64_t j = 0; j <= i; ++j) {
            if (!seen(j)) continue;
            const A e = std::exp(score[size_t(j)] - top);
            sum += e;
            for (int64_t d = 0; d < dim; ++d) value[size_t(d)] += e * A(p.v[k_at(j, d)]);
          }
          for (int64_t d = 0; d < dim; ++d) o[q_at(d)] = rounded(value[size_t(d)] / sum);
          lse[row] = top + std::log(sum);
        };
        branch(true, out.full, out.lse_full);
        branch(false, out.sparse, out.lse_sparse);

        const bool full = p.gate[gate] != 0;
        const std::vector<A>& o = full ? out.full : out.sparse;
        const A lse = full ? out.lse_full[row] : out.lse_sparse[row];
        A dot = 0;
        for (int64_t d = 0; d < dim; ++d) {
          const A g = A(p.d_out[q_at(d)]);
          dot += g * o[q_at(d)];
          out.d_gate[gate] += g * (out.full[q_at(d)] - out.sparse[q_at(d)]);
        }
        for (int64_t j = 0; j <= i; ++j) {
          if (!visible(full, s, h, i, j)) continue;
          const A probability = std::exp(score[size_t(j)] - lse);
          A dp = 0;
          for (int64_t d = 0; d < dim; ++d) dp += A(p.d_out[q_at(d)]) * A(p.v[k_at(j, d)]);
          const A ds = probability * (dp - dot) * A(p.scale);
          for (int64_t d = 0; d < dim; ++d) {
            out.dv[k_at(j, d)] += probability * A(p.d_out[q_at(d)]);
            out.dq[q_at(d)] += ds * A(p.k[k_at(j, d)]);
            out.dk[k_at(j, d)] += ds * A(p.q[q_at(d)]);
          }
        }
      }
    }
  }
  for (auto* gradient : {&out.dq, &out.dk, &out.dv}) {
    for (A& x : *gradient) x = rounded(x);
  }
  return out;
}

}  // namespace elastron::testing
