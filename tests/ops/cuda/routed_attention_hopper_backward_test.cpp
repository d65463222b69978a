// Gradients by the kernels for sm_90a against the CPU: every pair, lengths around a tile, every
// gate and group.
#include <random>

#include "ops/cuda/attention/hopper_kernels.h"
#include "tests/ops/cuda/attention_below_the_front.h"

namespace elastron::testing {
namespace {

using ops::Branches;
using ops::KeySetKind;
using ops::KeySetPair;
using ops::cuda::Pairs;

const Gates kGates[] = {Gates::mixed, Gates::full, Gates::sparse};

class HopperGradients : public AttentionBelowTheFront {
 protected:
  void SetUp() override {
    AttentionBelowTheFront::SetUp();
    need_hopper_kernels();
  }

  // The op's own arguments, for what the kernels say that they take.
  static ops::AttentionBackwardArgs args_of(KeySetPair pair, const ops::AttentionShape& shape,
                                            int64_t block) {
    alignas(16) static const char memory[16] = {};
    ops::AttentionBackwardArgs args;
    args.q = args.k = args.v = args.d_out = {memory, 64};
    args.sets = pair;
    args.shape = shape;
    args.choice.block = block;
    return args;
  }

  static AttentionProblem problem(KeySetPair pair, int64_t kv_heads, int64_t group, int64_t dim,
                                  const std::vector<int32_t>& lengths, Gates gates) {
    AttentionProblem p = attention_problem(kv_heads * group, kv_heads, dim, lengths, gates);
    p.sets = pair;
    p.rule = {64, 1, 2};
    p.xattention = {16, 128, 0.6, false};
    const ops::AttentionShape shape{p.q_heads, p.kv_heads, dim};
    EXPECT_EQ(ops::cuda::gradient_kernels(DType::bf16, args_of(pair, shape, p.xattention.block)),
              ops::AttentionKernels::hopper);
    return p;
  }

  // Gradients only: what the forward pass gives has tests of its own.
  void expect_gradients(const AttentionProblem& p, Branches branches) {
    const auto [cpu, gpu] = run<bf16>(p, branches);
    for (const auto member :
         {&AttentionRun::dq, &AttentionRun::dk, &AttentionRun::dv, &AttentionRun::d_gate}) {
      ASSERT_LE(largest_error(cpu.*member, gpu.*member), 2e-2 * most(cpu.*member));
    }
  }
};

TEST_F(HopperGradients, EveryModeGateAndGroup) {
  const ops::StreamingRule rules[] = {{16, 1, 2},  {64, 0, 1}, {5, 2, 3},  {64, 2, 1},
                                      {128, 1, 2}, {1, 0, 1},  {100, 1, 1}};
  int round = 0;
  for (const KeySetPair pair : kPairs) {
    for (const Gates gates : kGates) {
      for (const int64_t dim : {64, 128}) {
        const int64_t group = (const int64_t[]){1, 3, 4, 5, 2, 6, 7}[round % 7];
        SCOPED_TRACE("pair " + name_of(pair) + " gates " + std::to_string(int(gates)) + " dim " +
                     std::to_string(dim) + " group " + std::to_string(group));
        AttentionProblem p =
            problem(pair, 2, group, dim, {1, 63, 0, 64, 65, 127, 129, 200, 0}, gates);
        p.rule = rules[round % 7];
        ++round;
        fill_problem<bf16>(p, uint64_t(round), round % 4 == 3 ? 4.0 : 1.0);
        expect_gradients(p, round % 2 == 0 ? Branches::both : Branches::selected);
      }
    }
  }
}

// Groups that no model of ours has: a row of a tile for each head of the group.
TEST_F(HopperGradients, LargeGroups) {
  for (const int64_t group : {8, 16, 33, 64}) {
    SCOPED_TRACE(group);
    AttentionProblem p = problem(kFaSsa, 1, group, 64, {3, 70}, Gates::mixed);
    fill_problem<bf16>(p, uint64_t(group));
    expect_gradients(p, Branches::both);
  }
}

TEST_F(HopperGradients, ManyTiles) {
  for (const KeySetPair pair : kPairs) {
    for (const int64_t dim : {64, 128}) {
      SCOPED_TRACE("pair " + name_of(pair) + " dim " + std::to_string(dim));
      AttentionProblem p = problem(pair, 2, dim == 64 ? 2 : 1, dim, {1000}, Gates::mixed);
      fill_problem<bf16>(p, uint64_t(dim));
      expect_gradients(p, Branches::selected);
    }
  }
}

// Sequences whose first keys are of tokens that stand elsewhere, through the op itself; some are
// seen by no query.
TEST_F(HopperGradients, KeysBeforeTheFirstQuery) {
  for (int round = 0; round < 3; ++round) {
    AttentionProblem p =
        problem(kFaSsa, 2, 1 << round, round % 2 == 0 ? 64 : 128, {70, 1, 69, 5, 45}, Gates::mixed);
    p.rule = {16, round % 3, 2};
    p.cu_keys = {0};
    for (const int32_t n : {70, 171, 100, 203, 450}) p.cu_keys.push_back(p.cu_keys.back() + n);
    fill_problem<bf16>(p, uint64_t(round));
    const AttentionRun cpu = run_attention<bf16>(p);
    const AttentionRun gpu =
        run_attention_on<bf16>(*gpu_, p, Branches::both, true, ops::FullAttentionBy::own);
    for (const auto member : {&AttentionRun::dq, &AttentionRun::dk, &AttentionRun::dv}) {
      EXPECT_LE(largest_error(cpu.*member, gpu.*member), 2e-2 * most(cpu.*member)) << round;
    }
  }
}

// The last queries see all.
TEST_F(HopperGradients, DenseTail) {
  for (const KeySetPair pair : {kFaSsa, kXaSsa}) {
    SCOPED_TRACE("pair " + name_of(pair));
    AttentionProblem p = problem(pair, 2, 2, 64, {65, 0, 1, 400}, Gates::sparse);
    p.rule = {.block = 16, .sink_blocks = 1, .local_blocks = 3, .dense_tail = 70};
    fill_problem<bf16>(p, 6);
    expect_gradients(p, Branches::selected);
  }
}

// Key tiles that all queries see are cut into parts when there are many.
TEST_F(HopperGradients, PartsOfAKeyTile) {
  const int64_t group = 16;
  AttentionProblem p = problem(kFaSsa, 1, group, 64, {40, 1100}, Gates::sparse);
  p.rule = {64, 2, 1};
  using Split = ops::cuda::KeySplitRule;
  ASSERT_GT(Split{1}.of(1100 / 128, 1100 / int32_t(64 / group)).parts, 1);
  fill_problem<bf16>(p, 3);
  expect_gradients(p, Branches::selected);
}

TEST_F(HopperGradients, ExtremeScores) {
  for (const KeySetPair pair : kPairs) {
    for (const Gates gates : {Gates::full, Gates::sparse}) {
      SCOPED_TRACE("pair " + name_of(pair) + " gates " + std::to_string(int(gates)));
      AttentionProblem p = problem(pair, 2, 2, 64, {1, 200, 300}, gates);
      fill_problem<bf16>(p, 24);
      fill_extreme(p);
      const auto [cpu, gpu] = run<bf16>(p, Branches::both);
      for (const auto member :
           {&AttentionRun::dq, &AttentionRun::dk, &AttentionRun::dv, &AttentionRun::d_gate}) {
        EXPECT_TRUE(std::ranges::all_of(gpu.*member, [](double x) { return std::isfinite(x); }));
      }
    }
  }
}

// Open pairs are not written.
TEST_F(HopperGradients, ClosedPairsAlone) {
  AttentionProblem p = problem(kFaSsa, 3, 2, 128, {65, 0, 200}, Gates::mixed);
  fill_problem<bf16>(p, 2);
  const auto [cpu, gpu] = run<bf16>(p, Branches::selected, Pairs::closed);
  const auto check = [&](const std::vector<double>& a, const std::vector<double>& b,
                         int64_t heads) {
    for (size_t i = 0; i < a.size(); ++i) {
      const auto token = int32_t(int64_t(i) / (heads * p.head_dim));
      const size_t s = token < p.cu_seqlens[1] ? 0 : 2;
      const auto kv_head = size_t(int64_t(i) / p.head_dim % heads / (heads / p.kv_heads));
      if (p.gate[s * size_t(p.kv_heads) + kv_head] != 0) {
        ASSERT_TRUE(std::isnan(b[i])) << i;
      } else {
        ASSERT_NEAR(a[i], b[i], 2e-2 * most(a)) << i;
      }
    }
  };
  check(cpu.dq, gpu.dq, p.q_heads);
  check(cpu.dk, gpu.dk, p.kv_heads);
  check(cpu.dv, gpu.dv, p.kv_heads);
}

// Nothing depends on who takes which tile.
TEST_F(HopperGradients, RepeatsGiveTheSameBits) {
  for (const KeySetPair pair : kPairs) {
    AttentionProblem p = problem(pair, 2, 2, 64, {100, 0, 260}, Gates::mixed);
    fill_problem<bf16>(p, 5);
    const auto a = run<bf16>(p, Branches::both).second, b = run<bf16>(p, Branches::both).second;
    EXPECT_TRUE(a.dq == b.dq && a.dk == b.dk && a.dv == b.dv && a.d_gate == b.d_gate);
  }
}

TEST_F(HopperGradients, ChosenWhereTheyMayBe) {
  using Kernels = ops::AttentionKernels;
  const auto chosen = [](KeySetPair pair, const ops::AttentionShape& shape, int64_t block) {
    return ops::cuda::gradient_kernels(DType::bf16, args_of(pair, shape, block));
  };
  EXPECT_EQ(chosen(kFaSsa, {64, 1, 64}, 0), Kernels::hopper);
  EXPECT_EQ(chosen(kFaSsa, {128, 1, 64}, 0), Kernels::mma);
  EXPECT_EQ(chosen(kFaSsa, {6, 2, 64}, 0), Kernels::hopper);
  EXPECT_EQ(chosen(kFaXa, {6, 2, 64}, 128), Kernels::hopper);
  EXPECT_EQ(chosen(kFaXa, {6, 2, 64}, 64), Kernels::mma);
  EXPECT_EQ(chosen(kFaSsa, {4, 2, 96}, 0), Kernels::mma);
  EXPECT_EQ(chosen(kFaSsa, {4, 2, 72}, 0), Kernels::plain);
  auto args = args_of(kFaSsa, {4, 2, 64}, 0);
  EXPECT_EQ(ops::cuda::gradient_kernels(DType::f32, args), Kernels::plain);
  for (const Kernels most : {Kernels::plain, Kernels::mma, Kernels::hopper}) {
    args.kernels = most;
    EXPECT_EQ(ops::cuda::gradient_kernels(DType::bf16, args), most);
  }
  args.d_out.token_stride = 68;
  EXPECT_EQ(ops::cuda::gradient_kernels(DType::bf16, args), Kernels::plain);
}

}  // namespace
}  // namespace elastron::testing
