// Gradients of the whole op by finite differences in double, and against PyTorch's autograd.
#include <gtest/gtest.h>

#include "core/file/safetensors.h"
#include "tests/ops/routed_attention_problem.h"

namespace elastron::testing {
namespace {

using ops::Branches;

double loss(const AttentionProblem& p) {
  const AttentionRun run = run_attention<double>(p, Branches::selected, false);
  double sum = 0;
  for (size_t i = 0; i < run.selected.size(); ++i) sum += run.selected[i] * p.d_out[i];
  return sum;
}

AttentionProblem small_problem(int64_t q_heads, int64_t kv_heads, int64_t head_dim,
                               std::vector<int32_t> cu, ops::StreamingRule rule, uint64_t seed) {
  AttentionProblem p;
  p.q_heads = q_heads;
  p.kv_heads = kv_heads;
  p.head_dim = head_dim;
  p.cu_seqlens = std::move(cu);
  p.rule = rule;
  p.scale = 1 / std::sqrt(double(head_dim));
  for (int64_t i = 0; i < p.sequences() * kv_heads; ++i) p.gate.push_back(uint8_t(i % 2));
  fill_problem<double>(p, seed);
  return p;
}

TEST(RoutedAttentionGradient, EveryElementByFiniteDifferences) {
  AttentionProblem p = small_problem(4, 2, 4, {0, 9, 14}, {2, 1, 1}, 31);
  const AttentionRun run = run_attention<double>(p);
  constexpr double kStep = 1e-5;  // error step^2 + 1e-15 / step, both about 1e-10
  const std::pair<std::vector<double>*, const std::vector<double>*> inputs[] = {
      {&p.q, &run.dq}, {&p.k, &run.dk}, {&p.v, &run.dv}};
  for (const auto& [values, gradient] : inputs) {
    double largest = 0;
    for (size_t i = 0; i < values->size(); ++i) {
      const double x = (*values)[i];
      (*values)[i] = x + kStep;
      const double above = loss(p);
      (*values)[i] = x - kStep;
      const double below = loss(p);
      (*values)[i] = x;
      ASSERT_NEAR((*gradient)[i], (above - below) / (2 * kStep), 1e-8) << i;
      largest = std::max(largest, std::abs((*gradient)[i]));
    }
    EXPECT_GT(largest, 0.1);
  }
}

TEST(RoutedAttentionGradient, DirectionsAcrossTiles) {
  AttentionProblem p = small_problem(6, 2, 20, {0, 150, 151, 280}, {16, 1, 2}, 32);
  const AttentionRun run = run_attention<double>(p);
  const std::pair<std::vector<double>*, const std::vector<double>*> inputs[] = {
      {&p.q, &run.dq}, {&p.k, &run.dk}, {&p.v, &run.dv}};
  std::mt19937_64 engine(33);
  std::normal_distribution<double> normal;
  for (const auto& [values, gradient] : inputs) {
    for (int repeat = 0; repeat < 3; ++repeat) {
      const std::vector<double> origin = *values;
      std::vector<double> direction(origin.size());
      double expected = 0;
      for (size_t i = 0; i < origin.size(); ++i) {
        direction[i] = normal(engine);
        expected += direction[i] * (*gradient)[i];
      }
      constexpr double kStep = 1e-5;
      const auto at = [&](double step) {
        for (size_t i = 0; i < origin.size(); ++i) (*values)[i] = origin[i] + step * direction[i];
        return loss(p);
      };
      const double above = at(kStep), below = at(-kStep);
      *values = origin;
      EXPECT_NEAR(expected, (above - below) / (2 * kStep), 1e-6 * (1 + std::abs(expected)));
    }
  }
}

TEST(RoutedAttentionGradient, GateIsTheDifferenceOfTheBranches) {
  AttentionProblem p = small_problem(6, 2, 20, {0, 150, 151, 280}, {16, 1, 2}, 34);
  const AttentionRun run = run_attention<double>(p);
  for (size_t g = 0; g < p.gate.size(); ++g) {
    AttentionProblem flipped = p;
    flipped.gate[g] = 1;
    const double full = loss(flipped);
    flipped.gate[g] = 0;
    const double sparse = loss(flipped);
    EXPECT_NEAR(run.d_gate[g], full - sparse, 1e-10) << g;
  }
  // Sequence 1 has one token, sees itself in both branches, and cannot care.
  EXPECT_EQ(run.d_gate[2], 0.0);
  EXPECT_GT(std::abs(run.d_gate[0]), 1e-3);
}

// tests/oracle/make_attention_fixtures.py: dense scores and autograd through both branches.
class PyTorch : public ::testing::TestWithParam<const char*> {};

TEST_P(PyTorch, Agrees) {
  CpuDevice device;
  const SafetensorsFile file(std::string(ELASTRON_TEST_FIXTURES "/attention/") + GetParam() +
                             ".safetensors");
  const auto values = [&](const char* name) { return file.read(name, device).to_vector<double>(); };
  const auto numbers = [&](const char* name) {
    return file.read(name, device).to_vector<int32_t>();
  };
  AttentionProblem p;
  const auto shape = numbers("shape");  // q_heads, kv_heads, head_dim, padding
  p.q_heads = shape[0];
  p.kv_heads = shape[1];
  p.head_dim = shape[2];
  p.padding = shape[3];
  const auto rule = numbers("rule");
  p.rule = {rule[0], rule[1], rule[2]};
  p.scale = 1 / std::sqrt(double(p.head_dim));
  p.cu_seqlens = numbers("cu_seqlens");
  for (const int32_t z : numbers("gate")) p.gate.push_back(uint8_t(z));
  p.q = values("q");
  p.k = values("k");
  p.v = values("v");
  p.d_out = values("d_out");

  AttentionRun truth;
  truth.selected = values("selected");
  truth.other = values("other");
  truth.lse = values("lse");
  truth.dq = values("dq");
  truth.dk = values("dk");
  truth.dv = values("dv");
  truth.d_gate = values("d_gate");
  const auto compare = [&](const AttentionRun& run, double tolerance) {
    EXPECT_LE(largest_error(run.selected, truth.selected), tolerance);
    EXPECT_LE(largest_error(run.other, truth.other), tolerance);
    EXPECT_LE(largest_error(run.lse, truth.lse), tolerance);
    EXPECT_LE(largest_error(run.dq, truth.dq), tolerance);
    EXPECT_LE(largest_error(run.dk, truth.dk), tolerance);
    EXPECT_LE(largest_error(run.dv, truth.dv), tolerance);
    EXPECT_LE(largest_error(run.d_gate, truth.d_gate), 10 * tolerance);
  };
  compare(run_attention<double>(p), 1e-12);
  compare(run_attention<float>(p), 1e-5);  // the inputs are float values
}

INSTANTIATE_TEST_SUITE_P(Fixtures, PyTorch, ::testing::Values("small_blocks", "long_row"));

}  // namespace
}  // namespace elastron::testing
