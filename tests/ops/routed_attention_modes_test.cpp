// Routed attention over chosen blocks, and the further forms of sparse attention: against the
// formulas written plainly, by finite differences, and the invariants.
#include <gtest/gtest.h>

#include "core/error.h"
#include "ops/attention/key_tiles.h"
#include "tests/ops/attention_oracle.h"
#include "tests/support/topk_reference.h"
#include "tests/support/xattention_reference.h"

namespace elastron::testing {
namespace {

using ops::Branches;
using ops::KeySetKind;
using ops::KeySetPair;

AttentionProblem problem_of(KeySetPair pair, int64_t q_heads, int64_t kv_heads, int64_t head_dim,
                            const std::vector<int32_t>& lengths, Gates gates) {
  AttentionProblem p = attention_problem(q_heads, kv_heads, head_dim, lengths, gates);
  p.sets = pair;
  p.rule = {64, 1, 2};
  p.xattention = {16, 64, 0.6, false};
  return p;
}

void choose(AttentionProblem& p) { p.topk ? choose_topk_by_reference(p) : choose_by_reference(p); }

struct Case {
  std::string name;
  AttentionProblem problem;
};

// Lengths around tiles and blocks, empty sequences, padding; windows that cut tiles; all gates.
std::vector<Case> cases() {
  std::vector<Case> all;
  int i = 0;
  const std::vector<int32_t> lengths = {1, 63, 64, 0, 65, 127, 129, 500};
  for (const KeySetPair pair : {kFaXa, kXaSsa}) {
    for (const Gates gates : {Gates::mixed, Gates::full, Gates::sparse}) {
      for (const int64_t block : {64, 128}) {
        AttentionProblem p = problem_of(pair, 4, 2, i % 2 == 0 ? 20 : 32, lengths, gates);
        p.xattention.block = block;
        p.xattention.threshold = 0.5 + 0.1 * (i % 4);
        p.rule = {int64_t(i % 3 == 0 ? 64 : 24), i % 2, 1 + i % 3};
        p.padding = i % 2 == 0 ? 5 : 0;
        all.push_back({"pair " + name_of(pair) + " gates " + std::to_string(int(gates)) +
                           " block " + std::to_string(block),
                       std::move(p)});
        ++i;
      }
    }
  }
  // The top k blocks: of groups that stand side by side in a tile, and of groups that do not.
  for (const KeySetPair pair : {kFaXa, kXaSsa}) {
    for (const int64_t group : {1, 2, 3, 4, 5}) {
      AttentionProblem p = problem_of(pair, 2 * group, 2, i % 2 == 0 ? 20 : 32, lengths,
                                      i % 3 == 0 ? Gates::sparse : Gates::mixed);
      p.topk = ops::TopkRule{
          .block = group == 4 ? 128 : 64, .blocks = 2 + group % 3, .sink_blocks = group % 2};
      p.rule = {int64_t(i % 3 == 0 ? 64 : 24), i % 2, 1 + i % 3};
      p.padding = i % 2 == 0 ? 5 : 0;
      all.push_back(
          {"topk, pair " + name_of(pair) + " group " + std::to_string(group), std::move(p)});
      ++i;
    }
  }
  // `local`, a window of tokens; `triangle`, the last queries see all.
  for (const Gates gates : {Gates::mixed, Gates::sparse}) {
    AttentionProblem local = problem_of(kFaSsa, 4, 2, 20, lengths, gates);
    local.rule = {1, 0, 37};
    all.push_back({"local", local});
    local.sets = kXaSsa;
    all.push_back({"local beside XA", local});
    AttentionProblem triangle = problem_of(kFaSsa, 6, 2, 20, lengths, gates);
    triangle.rule = {16, 1, 3};
    triangle.rule.dense_tail = 70;
    all.push_back({"triangle", triangle});
    triangle.sets = kXaSsa;
    all.push_back({"triangle beside XA", triangle});
  }
  return all;
}

template <class F>
void over_cases(const F& f) {
  uint64_t seed = 40;
  for (Case& c : cases()) {
    SCOPED_TRACE(c.name);
    f(c.problem, ++seed);
  }
}

void expect_close(const AttentionRun& run, const AttentionRun& truth, double tolerance) {
  EXPECT_LE(largest_error(run.selected, truth.selected), tolerance);
  EXPECT_LE(largest_error(run.other, truth.other), tolerance);
  EXPECT_LE(largest_error(run.lse, truth.lse), tolerance);
  EXPECT_LE(largest_error(run.lse_other, truth.lse_other), tolerance);
  EXPECT_LE(largest_error(run.dq, truth.dq), 10 * tolerance);
  EXPECT_LE(largest_error(run.dk, truth.dk), 10 * tolerance);
  EXPECT_LE(largest_error(run.dv, truth.dv), 10 * tolerance);
  EXPECT_LE(largest_error(run.d_gate, truth.d_gate), 1000 * tolerance);
}

TEST(AttentionModes, DoubleMatchesReference) {
  over_cases([](AttentionProblem& p, uint64_t seed) {
    fill_problem<double>(p, seed, 2.0);
    choose(p);
    expect_close(run_attention<double>(p),
                 selected_by_gate(p, attention_reference<double, double>(p)), 1e-13);
  });
}

TEST(AttentionModes, FloatMatchesReference) {
  over_cases([](AttentionProblem& p, uint64_t seed) {
    fill_problem<float>(p, seed, 2.0);
    choose(p);
    expect_close(run_attention<float>(p),
                 selected_by_gate(p, attention_reference<double, double>(p)), 5e-6);
  });
}

TEST(AttentionModes, LongSequences) {
  for (const KeySetPair pair : kPairs) {
    SCOPED_TRACE(name_of(pair));
    AttentionProblem p = problem_of(pair, 2, 2, 16, {1000, 4097}, Gates::mixed);
    p.xattention.block = 128;
    fill_problem<float>(p, 90 + uint64_t(pair == kFaSsa ? 0 : pair == kFaXa ? 1 : 2), 2.0);
    choose(p);
    expect_close(run_attention<float>(p),
                 selected_by_gate(p, attention_reference<double, double>(p)), 5e-6);
  }
}

TEST(AttentionModes, ExtremeScoresStayFinite) {
  for (const KeySetPair pair : kPairs) {
    for (const Gates gates : {Gates::full, Gates::sparse}) {
      SCOPED_TRACE(name_of(pair) + " gates " + std::to_string(int(gates)));
      AttentionProblem p = problem_of(pair, 4, 2, 16, {1, 200, 300}, gates);
      fill_problem<float>(p, 24);
      fill_extreme(p);
      choose(p);
      const AttentionRun run = run_attention<float>(p);
      const AttentionRun truth = selected_by_gate(p, attention_reference<double, double>(p));
      EXPECT_LE(largest_error(run.selected, truth.selected), 1e-5);
      EXPECT_LE(largest_error(run.other, truth.other), 1e-5);
      EXPECT_LE(largest_error(run.lse, truth.lse), 1e-2);  // of 10^4
      for (const auto gradient : {&run.dq, &run.dk, &run.dv, &run.d_gate}) {
        for (const double x : *gradient) ASSERT_TRUE(std::isfinite(x));
      }
    }
  }
}

TEST(AttentionModes, Bfloat16IsAsAccurateAsPlainCode) {
  over_cases([](AttentionProblem& p, uint64_t seed) {
    fill_problem<bf16>(p, seed, 2.0);
    choose(p);
    const AttentionRun run = run_attention<bf16>(p);
    const auto plain = selected_by_gate(p, attention_reference<float, bf16>(p));
    const auto truth = selected_by_gate(p, attention_reference<double, double>(p));
    for (const auto member : {&AttentionRun::selected, &AttentionRun::other, &AttentionRun::dq,
                              &AttentionRun::dk, &AttentionRun::dv}) {
      EXPECT_LE(largest_error(run.*member, truth.*member),
                4 * largest_error(plain.*member, truth.*member) + 1e-6);
    }
    EXPECT_LE(largest_error(run.lse, truth.lse), 1e-5);
  });
}

// Attention does not move the choice, and a step this small does not either.
TEST(AttentionModes, GradientsByFiniteDifferences) {
  for (Case& c : cases()) {
    SCOPED_TRACE(c.name);
    AttentionProblem& p = c.problem;
    fill_problem<double>(p, 77);
    const AttentionRun run = run_attention<double>(p);
    expect_directional_gradients(p, run, 1e-6, 1, 78);
    expect_gate_gradients(p, run, 5, 1e-9);
  }
}

// Where blocks were not chosen for a head that does not need them, or a branch of pair xa-ssa is
// alone, keys are visited in another order.
TEST(AttentionModes, SelectedAloneIsTheSame) {
  over_cases([](AttentionProblem& p, uint64_t seed) {
    fill_problem<float>(p, seed);
    const AttentionRun both = run_attention<float>(p);
    const AttentionRun selected = run_attention<float>(p, Branches::selected);
    EXPECT_EQ(both.visited, selected.visited);
    EXPECT_TRUE(selected.other.empty());
    EXPECT_TRUE(selected.lse_other.empty());
    if (p.sets.has(ops::KeySetKind::blocks)) {
      EXPECT_LE(largest_error(both.selected, selected.selected), 2e-6);
      EXPECT_LE(largest_error(both.dk, selected.dk), 2e-5);
      return;
    }
    EXPECT_EQ(both.selected, selected.selected);
    EXPECT_EQ(both.lse, selected.lse);
    EXPECT_EQ(both.dq, selected.dq);
    EXPECT_EQ(both.dk, selected.dk);
    EXPECT_EQ(both.dv, selected.dv);
  });
}

TEST(AttentionModes, ThreadsAndPackingDoNotChangeBits) {
  const int before = omp_get_max_threads();
  over_cases([&](AttentionProblem& p, uint64_t seed) {
    fill_problem<float>(p, seed);
    omp_set_num_threads(1);
    const AttentionRun one = run_attention<float>(p);
    omp_set_num_threads(5);
    const AttentionRun five = run_attention<float>(p);
    EXPECT_EQ(one.selected, five.selected);
    EXPECT_EQ(one.other, five.other);
    EXPECT_EQ(one.dq, five.dq);
    EXPECT_EQ(one.dk, five.dk);
    EXPECT_EQ(one.dv, five.dv);
    EXPECT_EQ(one.d_gate, five.d_gate);
    EXPECT_EQ(one.visited, five.visited);
    // The last sequence alone.
    const size_t last = p.cu_seqlens.size() - 2;
    const int64_t first = p.cu_seqlens[last], length = p.cu_seqlens[last + 1] - first;
    AttentionProblem alone = p;
    alone.cu_seqlens = {0, int32_t(length)};
    alone.padding = 0;
    alone.gate = {p.gate.end() - p.kv_heads, p.gate.end()};
    const auto cut = [&](const std::vector<double>& values, int64_t heads, int64_t dim) {
      const auto begin = values.begin() + first * heads * dim;
      return std::vector<double>(begin, begin + length * heads * dim);
    };
    alone.q = cut(p.q, p.q_heads, p.head_dim);
    alone.k = cut(p.k, p.kv_heads, p.head_dim);
    alone.v = cut(p.v, p.kv_heads, p.head_dim);
    alone.d_out = cut(p.d_out, p.q_heads, p.head_dim);
    const AttentionRun part = run_attention<float>(alone);
    EXPECT_EQ(part.selected, cut(one.selected, p.q_heads, p.head_dim));
    EXPECT_EQ(part.other, cut(one.other, p.q_heads, p.head_dim));
    EXPECT_EQ(part.dq, cut(one.dq, p.q_heads, p.head_dim));
    EXPECT_EQ(part.dk, cut(one.dk, p.kv_heads, p.head_dim));
  });
  omp_set_num_threads(before);
}

// Tiles counted one by one: those with a visible pair.
TEST(AttentionModes, VisitedTilesAreThoseWithVisiblePairs) {
  over_cases([](AttentionProblem& p, uint64_t seed) {
    fill_problem<float>(p, seed);
    const bool blocks = p.sets.has(ops::KeySetKind::blocks);
    if (blocks) choose(p);
    const AttentionRun run = run_attention<float>(p, Branches::both, false);
    const int64_t heads = ops::heads_of_tile(p.group(), p.pattern().shared_by(p.group()));
    const int64_t tokens = 64 / heads;
    std::vector<int64_t> expected(p.gate.size()), dense(p.gate.size());
    for (int64_t s = 0; s < p.sequences(); ++s) {
      const int64_t length = p.cu_seqlens[size_t(s) + 1] - p.cu_seqlens[size_t(s)];
      for (int64_t h = 0; h < p.q_heads; h += heads) {
        const size_t gate = size_t(s * p.kv_heads + h / p.group());
        const ops::KeySetKind set = p.sets.of(p.gate[gate] != 0);
        for (int64_t begin = 0; begin < length; begin += tokens) {
          for (int64_t key = 0; key < std::min(length, begin + tokens); key += 64) {
            bool seen = set == ops::KeySetKind::full;
            for (int64_t i = begin; i < std::min(length, begin + tokens); ++i) {
              for (int64_t j = key; j <= std::min(i, key + 63); ++j) {
                seen = seen ||
                       (set == ops::KeySetKind::streaming && spec_visible(p.rule, i, j, length));
                seen = seen || (set == ops::KeySetKind::blocks &&
                                p.chosen(s, h, i / p.block(), j / p.block()));
              }
            }
            expected[gate] += seen ? 1 : 0;
            dense[gate] += 1;
          }
        }
      }
      for (int64_t kv = 0; kv < p.kv_heads; ++kv) {
        EXPECT_EQ(ops::dense_tiles(p.pattern(), p.group(), length, length),
                  dense[size_t(s * p.kv_heads + kv)]);
      }
    }
    EXPECT_EQ(run.visited, expected);
  });
}

TEST(AttentionModes, AThresholdOfOneIsFullAttention) {
  AttentionProblem p = problem_of(kFaXa, 4, 2, 32, {300, 70}, Gates::mixed);
  p.xattention.threshold = 1.0;
  fill_problem<float>(p, 91);
  const AttentionRun run = run_attention<float>(p);
  EXPECT_LE(largest_error(run.selected, run.other), 1e-6);
  AttentionProblem dense = p;
  dense.sets = kFaSsa;
  dense.gate.assign(dense.gate.size(), 1);
  const AttentionRun truth = run_attention<float>(dense);
  EXPECT_LE(largest_error(run.selected, truth.selected), 1e-6);
}

TEST(AttentionModes, ExtremeLogitsStayFinite) {
  for (const KeySetPair pair : {kFaXa, kXaSsa}) {
    AttentionProblem p = problem_of(pair, 2, 1, 16, {300}, Gates::sparse);
    fill_problem<float>(p, 92);
    p.scale = 1;
    for (double& x : p.q) x = 25;
    for (size_t i = 0; i < p.k.size(); ++i) p.k[i] = (i / (16 * 40)) % 2 == 0 ? -25 : 25;
    const AttentionRun run = run_attention<float>(p);
    for (const auto* values : {&run.selected, &run.other, &run.lse, &run.dq, &run.dk, &run.dv}) {
      for (const double x : *values) ASSERT_TRUE(std::isfinite(x));
    }
  }
}

TEST(AttentionModes, RefusesBlocksBehindPrompts) {
  AttentionProblem p = problem_of(kFaXa, 2, 1, 16, {30, 40}, Gates::mixed);
  p.cu_keys = {0, 50, 90};
  fill_problem<float>(p, 93);
  EXPECT_THROW(run_attention<float>(p), LogicError);
}

}  // namespace
}  // namespace elastron::testing
