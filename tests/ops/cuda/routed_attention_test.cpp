// Routed attention on the GPU against the CPU: packed sequences, every gate, odd tiles and rules.
#include <random>

#include "ops/attention_means.h"
#include "ops/cuda/attention/hopper_kernels.h"
#include "ops/cuda/attention/mma_kernels.h"
#include "tests/ops/cuda/both_devices.h"
#include "tests/ops/routed_attention_problem.h"

namespace elastron::testing {
namespace {

class CudaAttention : public test::BothDevices {
 protected:
  // Against the run's own outputs: the sum may cancel, and what rounding of the outputs makes of it
  // says nothing of the kernel.
  static void expect_gate_gradient(const AttentionProblem& p, const AttentionRun& run,
                                   const std::string& what) {
    std::vector<double> sums(p.gate.size()), sizes(p.gate.size());
    for (int64_t s = 0; s < p.sequences(); ++s) {
      const auto row = [&](int32_t token) { return size_t(token * p.q_heads * p.head_dim); };
      for (size_t i = row(p.cu_seqlens[size_t(s)]); i < row(p.cu_seqlens[size_t(s) + 1]); ++i) {
        const int64_t head = int64_t(i) / p.head_dim % p.q_heads;
        const size_t pair = size_t(s * p.kv_heads + head / p.group());
        const double gap = run.selected[i] - run.other[i];
        sums[pair] += p.d_out[i] * (p.gate[pair] != 0 ? gap : -gap);
        sizes[pair] += std::abs(p.d_out[i] * gap);
      }
    }
    ASSERT_EQ(run.d_gate.size(), sums.size()) << what;
    for (size_t i = 0; i < sums.size(); ++i) {
      EXPECT_NEAR(run.d_gate[i], sums[i], 1e-6 * (1 + sizes[i])) << what << " pair " << i;
    }
  }

  template <class Storage>
  void compare(const AttentionProblem& p, double tolerance, const std::string& what,
               ops::FullAttentionBy full_by = ops::FullAttentionBy::own,
               ops::AttentionKernels kernels = ops::AttentionKernels::mma) {
    for (const ops::Branches branches : {ops::Branches::both, ops::Branches::selected}) {
      const AttentionRun a = run_attention<Storage>(p, branches);
      const AttentionRun b = run_attention_on<Storage>(*gpu_, p, branches, true, full_by, kernels);
      EXPECT_LE(largest_error(a.selected, b.selected), tolerance) << what;
      EXPECT_LE(largest_error(a.other, b.other), tolerance) << what;
      EXPECT_LE(largest_error(a.lse, b.lse), tolerance) << what;
      EXPECT_LE(largest_error(a.lse_other, b.lse_other), tolerance) << what;
      EXPECT_EQ(a.visited, b.visited) << what;
      const auto scaled = [](const std::vector<double>& x) {
        double most = 1;
        for (const double v : x) most = std::max(most, std::abs(v));
        return most;
      };
      EXPECT_LE(largest_error(a.dq, b.dq), tolerance * scaled(a.dq)) << what;
      EXPECT_LE(largest_error(a.dk, b.dk), tolerance * scaled(a.dk)) << what;
      EXPECT_LE(largest_error(a.dv, b.dv), tolerance * scaled(a.dv)) << what;
      EXPECT_EQ(a.d_gate.size(), b.d_gate.size()) << what;
      if (branches == ops::Branches::both) expect_gate_gradient(p, b, what);
    }
  }
};

AttentionProblem problem(std::mt19937& random, int64_t kv_heads, int64_t group, int64_t dim,
                         const std::vector<int32_t>& cu, const ops::StreamingRule& rule) {
  AttentionProblem p;
  p.q_heads = kv_heads * group;
  p.kv_heads = kv_heads;
  p.head_dim = dim;
  p.cu_seqlens = cu;
  p.rule = rule;
  p.scale = 1 / std::sqrt(double(dim));
  for (int64_t i = 0; i < p.sequences() * kv_heads; ++i) p.gate.push_back(uint8_t(random() % 2));
  return p;
}

TEST_F(CudaAttention, ShapesOfModels) {
  std::mt19937 random(1);
  int round = 0;
  for (const int64_t dim : {64, 80, 96, 128}) {
    for (const int64_t group : {1, 2, 4, 8}) {
      AttentionProblem p = problem(random, 2, group, dim, {0, 77, 150}, {16, 1, 2});
      const std::string what = std::to_string(dim) + " x " + std::to_string(group);
      fill_problem<float>(p, uint64_t(++round));
      compare<float>(p, 2e-5, what);
      fill_problem<bf16>(p, uint64_t(++round));
      compare<bf16>(p, 2e-2, what + " bfloat16");
    }
  }
}

// Sequences whose first keys are of tokens that stand elsewhere.
TEST_F(CudaAttention, KeysBeforeTheFirstQuery) {
  std::mt19937 random(5);
  for (int round = 0; round < 12; ++round) {
    AttentionProblem p = problem(random, 2, 1 + round % 4, round % 2 == 0 ? 64 : 20,
                                 {0, 70, 71, 140, 145, 190}, {16, round % 3, 1 + round % 3});
    p.cu_keys = {0};
    for (const int32_t n : {70, 71, 100, 203, 150}) p.cu_keys.push_back(p.cu_keys.back() + n);
    fill_problem<float>(p, uint64_t(round));
    compare<float>(p, 5e-5, "round " + std::to_string(round));
    fill_problem<bf16>(p, uint64_t(round));
    compare<bf16>(p, 2e-2, "round " + std::to_string(round) + " bfloat16");
  }
}

TEST_F(CudaAttention, RandomShapesAndRules) {
  std::mt19937 random(2);
  for (int round = 0; round < 40; ++round) {
    std::vector<int32_t> cu = {0};
    for (int s = 0, n = 1 + int(random() % 4); s < n; ++s) {
      cu.push_back(cu.back() + int32_t(random() % (round % 4 == 0 ? 3 : 140)));
    }
    if (cu.back() == 0) cu.back() = 5;
    const ops::StreamingRule rule{1 + int64_t(random() % 20), int64_t(random() % 4),
                                  1 + int64_t(random() % 4)};
    AttentionProblem p = problem(random, 1 + int64_t(random() % 3), 1 + int64_t(random() % 7),
                                 1 + int64_t(random() % 40), cu, rule);
    p.padding = int64_t(random() % 5);
    fill_problem<float>(p, uint64_t(round), round % 3 == 0 ? 8.0 : 1.0);
    compare<float>(p, 5e-5, "round " + std::to_string(round));
  }
}

// Rows that see one key only; a rule that hides most; every tile border.
TEST_F(CudaAttention, Borders) {
  std::mt19937 random(3);
  for (const int32_t length : {1, 31, 32, 33, 63, 64, 65, 96, 129}) {
    AttentionProblem p = problem(random, 2, 1, 16, {0, length}, {1, 0, 1});
    for (const uint8_t z : {0, 1}) {
      p.gate = {z, uint8_t(1 - z)};
      fill_problem<float>(p, uint64_t(length));
      compare<float>(p, 2e-5, std::to_string(length));
    }
  }
}

// Lengths around a tile, every group, rules finer and coarser than a tile, whatever the gates say.
TEST_F(CudaAttention, TensorCores) {
  const std::vector<int32_t> cu = {0, 1, 64, 64, 128, 193, 393};  // 1, 63, 0, 64, 65, 200
  const ops::StreamingRule rules[] = {{16, 1, 2}, {64, 0, 1}, {5, 2, 3}, {64, 2, 1},
                                      {16, 0, 1}, {64, 1, 2}, {1, 0, 1}, {100, 1, 1}};
  std::mt19937 random(6);
  for (int round = 0; round < 24; ++round) {
    const int64_t group = 1 + round % 8, dim = (const int64_t[]){64, 128, 80, 96, 16}[round % 5];
    const ops::StreamingRule rule = rules[(round + round / 8) % 8];
    AttentionProblem p = problem(random, round % 2 + 1, group, dim, cu, rule);
    const int gates = round / 8;  // mixed, none full, all full
    if (gates > 0) std::fill(p.gate.begin(), p.gate.end(), uint8_t(gates - 1));
    p.padding = round % 3;
    fill_problem<bf16>(p, uint64_t(round), round % 4 == 3 ? 6.0 : 1.0);
    compare<bf16>(p, 2e-2, "round " + std::to_string(round));
  }
}

// Full attention by cuDNN: packs with empty sequences, all and none of the gates open, one kv head
// and several, heads that tensor cores take and that they do not.
TEST_F(CudaAttention, FullAttentionByTheLibrary) {
  std::string why;
  if (ops::full_attention_library(*gpu_, why).empty()) GTEST_SKIP() << why;
  const std::vector<int32_t> cu = {0, 1, 64, 64, 128, 193, 393};
  std::mt19937 random(8);
  for (int round = 0; round < 18; ++round) {
    const int64_t group = (const int64_t[]){1, 4, 8, 2}[round % 4];
    const int64_t dim = (const int64_t[]){64, 128, 80, 96, 72}[round % 5];
    AttentionProblem p = problem(random, round % 3 + 1, group, dim, cu, {16, 1, 2});
    const int gates = round / 6;  // mixed, none full, all full
    if (gates > 0) std::fill(p.gate.begin(), p.gate.end(), uint8_t(gates - 1));
    p.padding = round % 3;
    fill_problem<bf16>(p, uint64_t(round), round % 4 == 3 ? 6.0 : 1.0);
    compare<bf16>(p, 2e-2, "round " + std::to_string(round), ops::FullAttentionBy::cudnn);
  }
}

// `auto` goes by the longest sequence; both choices give what the CPU gives.
TEST_F(CudaAttention, LongSequencesChooseTheLibrary) {
  std::string why;
  if (ops::full_attention_library(*gpu_, why).empty()) GTEST_SKIP() << why;
  std::mt19937 random(9);
  AttentionProblem p = problem(random, 1, 2, 64, {0, 1100}, {64, 1, 2});
  fill_problem<bf16>(p, 1);
  compare<bf16>(p, 2e-2, "auto", ops::FullAttentionBy::automatic);
}

// Context ranks: the parts of sequences that a rank has, each behind all keys before it. A whole
// sequence, two parts of one, an empty one and the ends of long ones.
TEST_F(CudaAttention, PartsOfSequencesByTheLibrary) {
  std::string why;
  if (ops::full_attention_library(*gpu_, why).empty()) GTEST_SKIP() << why;
  const std::vector<int32_t> cu = {0, 70, 134, 198, 198, 199, 230};
  std::mt19937 random(11);
  for (int round = 0; round < 9; ++round) {
    const int64_t group = (const int64_t[]){1, 4, 2}[round % 3];
    const int64_t dim = (const int64_t[]){64, 128, 72}[round % 3];
    AttentionProblem p = problem(random, round % 2 + 1, group, dim, cu, {16, 1, 2});
    p.cu_keys = {0};
    for (const int32_t keys : {70, 128, 256, 30, 200, 80})
      p.cu_keys.push_back(p.cu_keys.back() + keys);
    const int gates = round / 3;  // mixed, none full, all full
    if (gates > 0) std::fill(p.gate.begin(), p.gate.end(), uint8_t(gates - 1));
    p.padding = round % 3;
    fill_problem<bf16>(p, uint64_t(round), round % 3 == 2 ? 6.0 : 1.0);
    compare<bf16>(p, 2e-2, "round " + std::to_string(round), ops::FullAttentionBy::cudnn);
  }
}

// Each kind where it may be used, chosen by the op; what one does not take goes to another.
TEST_F(CudaAttention, KernelsAsAsked) {
  using Kernels = ops::AttentionKernels;
  std::mt19937 random(10);
  for (const int64_t dim : {64, 128, 80}) {
    AttentionProblem p = problem(random, 2, 4, dim, {0, 1, 130, 400}, {16, 1, 3});
    p.padding = 3;
    fill_problem<bf16>(p, uint64_t(dim));
    std::vector<std::vector<double>> lse;
    for (const Kernels kernels : {Kernels::plain, Kernels::mma, Kernels::hopper}) {
      const std::string what = std::to_string(dim) + " by " + std::to_string(int(kernels));
      compare<bf16>(p, 2e-2, what, ops::FullAttentionBy::own, kernels);
      lse.push_back(run_attention_on<bf16>(*gpu_, p, ops::Branches::both, false,
                                           ops::FullAttentionBy::own, kernels)
                        .lse);
    }
    // They sum in different orders.
    EXPECT_NE(lse[0], lse[1]) << dim;
    EXPECT_EQ(lse[1] != lse[2],
              dim != 80 && ops::cuda::hopper_runs_on(ops::cuda::attention_device()))
        << dim;
  }
}

// The plain kernels in bfloat16, and what is theirs.

// The plain kernels in bfloat16, for the shapes that are theirs.
TEST_F(CudaAttention, PlainKernelsTakeTheRest) {
  std::mt19937 random(7);
  AttentionProblem p = problem(random, 2, 3, 72, {0, 33, 130}, {16, 1, 2});
  fill_problem<bf16>(p, 1);
  compare<bf16>(p, 2e-2, "head_dim 72");
}

TEST_F(CudaAttention, RepeatsGiveTheSameBits) {
  std::mt19937 random(4);
  AttentionProblem p = problem(random, 2, 3, 64, {0, 100, 180}, {16, 1, 2});
  fill_problem<bf16>(p, 5);
  const auto a = run_attention_on<bf16>(*gpu_, p, ops::Branches::both, true);
  const auto b = run_attention_on<bf16>(*gpu_, p, ops::Branches::both, true);
  EXPECT_TRUE(a.selected == b.selected && a.other == b.other && a.lse == b.lse);
  EXPECT_TRUE(a.dq == b.dq && a.dk == b.dk && a.dv == b.dv && a.d_gate == b.d_gate);
}

}  // namespace
}  // namespace elastron::testing
