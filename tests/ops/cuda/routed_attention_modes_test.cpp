// Every pair of routed attention on the GPU against the CPU op.
#include <random>

#include "tests/ops/cuda/attention_below_the_front.h"

namespace elastron::testing {
namespace {

using ops::Branches;
using ops::KeySetKind;
using ops::KeySetPair;
using ops::cuda::Pairs;

AttentionProblem problem_of(KeySetPair pair, int64_t kv_heads, int64_t group, int64_t head_dim,
                            const std::vector<int32_t>& lengths, Gates gates) {
  AttentionProblem p = attention_problem(kv_heads * group, kv_heads, head_dim, lengths, gates);
  p.sets = pair;
  p.rule = {64, 1, 2};
  p.xattention = {16, 64, 0.6, false};
  return p;
}

using CudaAttentionModes = AttentionBelowTheFront;

const std::vector<int32_t> kLengths = {1, 63, 64, 0, 65, 127, 129, 500, 0};

TEST_F(CudaAttentionModes, AsOnTheCpu) {
  int i = 0;
  for (const KeySetPair pair : kPairs) {
    for (const Gates gates : {Gates::mixed, Gates::full, Gates::sparse}) {
      const int64_t block = i % 2 == 0 ? 64 : 128;
      SCOPED_TRACE("pair " + name_of(pair) + " gates " + std::to_string(int(gates)) + " block " +
                   std::to_string(block));
      AttentionProblem p = problem_of(pair, 2, 1 + i % 3, 32, kLengths, gates);
      p.xattention.block = block;
      p.xattention.threshold = 0.5 + 0.1 * (i % 4);
      p.rule = {int64_t(i % 3 == 0 ? 64 : 24), i % 2, 1 + i % 3};
      fill_problem<float>(p, uint64_t(++i), 2.0);
      compare<float>(p, 5e-5);
      fill_problem<bf16>(p, uint64_t(i));
      compare<bf16>(p, 2e-2);
    }
  }
}

TEST_F(CudaAttentionModes, LongSequences) {
  for (const KeySetPair pair : kPairs) {
    SCOPED_TRACE("pair " + name_of(pair));
    AttentionProblem p = problem_of(pair, 1, 1, 16, {1000, 4097}, Gates::mixed);
    p.gate = {0, 1};
    fill_problem<bf16>(p, 7);
    compare<bf16>(p, 2e-2, {Branches::both});
  }
}

TEST_F(CudaAttentionModes, ExtremeScores) {
  for (const KeySetPair pair : kPairs) {
    for (const Gates gates : {Gates::full, Gates::sparse}) {
      SCOPED_TRACE("pair " + name_of(pair) + " gates " + std::to_string(int(gates)));
      AttentionProblem p = problem_of(pair, 2, 2, 16, {1, 200, 300}, gates);
      fill_problem<bf16>(p, 24);
      fill_extreme(p);
      const auto finite = [](const std::vector<double>& values) {
        return std::ranges::all_of(values, [](double x) { return std::isfinite(x); });
      };
      const auto check = [&](const std::pair<AttentionRun, AttentionRun>& runs, double tolerance) {
        const auto& [cpu, gpu] = runs;
        EXPECT_LE(largest_error(cpu.selected, gpu.selected), tolerance);
        EXPECT_LE(largest_error(cpu.other, gpu.other), tolerance);
        EXPECT_TRUE(finite(gpu.dq) && finite(gpu.dk) && finite(gpu.dv) && finite(gpu.d_gate));
      };
      check(run<float>(p, Branches::both), 1e-4);
      check(run<bf16>(p, Branches::both), 2e-2);
    }
  }
}

// Head dimensions of models on tensor cores, and one that the plain kernels have in bfloat16.
TEST_F(CudaAttentionModes, HeadDimensions) {
  for (const KeySetPair pair : {kFaXa, kXaSsa}) {
    for (const int64_t dim : {64, 72, 80, 96, 128}) {
      SCOPED_TRACE("pair " + name_of(pair) + " dim " + std::to_string(dim));
      AttentionProblem p = problem_of(pair, 1, 2, dim, {130, 257}, Gates::mixed);
      fill_problem<bf16>(p, uint64_t(dim));
      compare<bf16>(p, 2e-2);
    }
  }
}

// `local`, a window of tokens; `triangle`, the last queries see all.
TEST_F(CudaAttentionModes, FurtherFormsOfSparseAttention) {
  for (const KeySetPair pair : {kFaSsa, kXaSsa}) {
    for (const bool triangle : {false, true}) {
      for (const Gates gates : {Gates::mixed, Gates::sparse}) {
        SCOPED_TRACE("pair " + name_of(pair) + (triangle ? " triangle" : " local"));
        AttentionProblem p = problem_of(pair, 2, 3, 16, {65, 0, 1, 200}, gates);
        p.rule = triangle ? ops::StreamingRule{16, 1, 3} : ops::StreamingRule{1, 0, 37};
        if (triangle) p.rule.dense_tail = 70;
        fill_problem<float>(p, 5, 2.0);
        compare<float>(p, 5e-5);
        fill_problem<bf16>(p, 6);
        compare<bf16>(p, 2e-2);
      }
    }
  }
}

// Key tiles that all queries see are cut into parts when there are many.
TEST_F(CudaAttentionModes, PartsOfAKeyTile) {
  const int64_t group = 8;
  AttentionProblem p = problem_of(kFaSsa, 2, group, 16, {40, 2100}, Gates::mixed);
  p.gate = {0, 1, 0, 1};
  p.rule = {64, 2, 1};
  using Split = ops::cuda::KeySplitRule;
  ASSERT_GT(Split{2}.of(2100 / 64, 2100 / int32_t(64 / group)).parts, 1);
  fill_problem<bf16>(p, 3);
  const auto [cpu, gpu] = run<bf16>(p, Branches::selected);
  for (const auto member : {&AttentionRun::dq, &AttentionRun::dk, &AttentionRun::dv}) {
    EXPECT_LE(largest_error(cpu.*member, gpu.*member), 2e-2 * most(cpu.*member));
  }
  EXPECT_EQ(cpu.visited, gpu.visited);
}

// Only closed pairs are written, wherever the others are to come from.
template <class Storage>
void expect_closed_pairs_only(const AttentionProblem& p, const AttentionRun& cpu,
                              const AttentionRun& gpu, double tolerance) {
  const auto check = [&](const std::vector<double>& a, const std::vector<double>& b, int64_t heads,
                         int64_t each) {
    ASSERT_EQ(a.size(), b.size());
    const double scale = std::max(1.0, *std::ranges::max_element(a));
    for (int64_t s = 0; s < p.sequences(); ++s) {
      for (int64_t t = p.cu_seqlens[size_t(s)]; t < p.cu_seqlens[size_t(s) + 1]; ++t) {
        for (int64_t i = 0; i < heads * each; ++i) {
          const int64_t kv_head = i / each / (heads / p.kv_heads);
          const size_t at = size_t(t * heads * each + i);
          if (p.gate[size_t(s * p.kv_heads + kv_head)] != 0) {
            ASSERT_TRUE(std::isnan(b[at]));
          } else {
            ASSERT_NEAR(a[at], b[at], tolerance * scale);
          }
        }
      }
    }
  };
  check(cpu.selected, gpu.selected, p.q_heads, p.head_dim);
  check(cpu.lse, gpu.lse, p.q_heads, 1);
  check(cpu.dq, gpu.dq, p.q_heads, p.head_dim);
  check(cpu.dk, gpu.dk, p.kv_heads, p.head_dim);
  check(cpu.dv, gpu.dv, p.kv_heads, p.head_dim);
}
TEST_F(CudaAttentionModes, ClosedPairsAlone) {
  for (const KeySetPair pair : {kFaSsa, kFaXa}) {
    SCOPED_TRACE("pair " + name_of(pair));
    AttentionProblem p = problem_of(pair, 3, 2, 32, {65, 0, 300, 1}, Gates::mixed);
    fill_problem<float>(p, 1);
    auto runs = run<float>(p, Branches::selected, Pairs::closed);
    expect_closed_pairs_only<float>(p, runs.first, runs.second, 5e-5);
    fill_problem<bf16>(p, 2);
    runs = run<bf16>(p, Branches::selected, Pairs::closed);
    expect_closed_pairs_only<bf16>(p, runs.first, runs.second, 2e-2);
    EXPECT_EQ(runs.first.visited, runs.second.visited);  // of all pairs
  }
}

// Parts of a key tile are summed in order, and nothing depends on who takes which tile.
TEST_F(CudaAttentionModes, RepeatsGiveTheSameBits) {
  for (const KeySetPair pair : {kFaXa, kXaSsa}) {
    AttentionProblem p = problem_of(pair, 2, 2, 64, {100, 260}, Gates::mixed);
    fill_problem<bf16>(p, 5);
    const auto a = run<bf16>(p, Branches::both).second, b = run<bf16>(p, Branches::both).second;
    EXPECT_TRUE(a.selected == b.selected && a.other == b.other && a.lse == b.lse &&
                a.lse_other == b.lse_other);
    EXPECT_TRUE(a.dq == b.dq && a.dk == b.dk && a.dv == b.dv && a.d_gate == b.d_gate);
  }
}

}  // namespace
}  // namespace elastron::testing
