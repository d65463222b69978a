// Gradients of the whole op by finite differences in double, and against PyTorch's autograd.
#include <gtest/gtest.h>

#include "tests/ops/attention_oracle.h"

namespace elastron::testing {
namespace {

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
      const double above = attention_loss(p);
      (*values)[i] = x - kStep;
      const double below = attention_loss(p);
      (*values)[i] = x;
      ASSERT_NEAR((*gradient)[i], (above - below) / (2 * kStep), 1e-8) << i;
      largest = std::max(largest, std::abs((*gradient)[i]));
    }
    EXPECT_GT(largest, 0.1);
  }
}

TEST(RoutedAttentionGradient, DirectionsAcrossTiles) {
  const AttentionProblem p = small_problem(6, 2, 20, {0, 150, 151, 280}, {16, 1, 2}, 32);
  expect_directional_gradients(p, run_attention<double>(p), 1e-5, 3, 33);
}

TEST(RoutedAttentionGradient, GateIsTheDifferenceOfTheBranches) {
  const AttentionProblem p = small_problem(6, 2, 20, {0, 150, 151, 280}, {16, 1, 2}, 34);
  const AttentionRun run = run_attention<double>(p);
  expect_gate_gradients(p, run, 1, 1e-10);
  // Sequence 1 has one token, sees itself in both branches, and cannot care.
  EXPECT_EQ(run.d_gate[2], 0.0);
  EXPECT_GT(std::abs(run.d_gate[0]), 1e-3);
}

// tests/oracle/make_attention_fixtures.py: dense scores and autograd through both branches.
class PyTorch : public ::testing::TestWithParam<const char*> {};

TEST_P(PyTorch, Agrees) {
  AttentionFixture fixture(std::string("attention/") + GetParam());
  AttentionProblem& p = fixture.problem;
  p.padding = fixture.numbers("shape")[3];
  fixture.compare(run_attention<double>(p), 1e-12, 1e-12, 1e-11);
  fixture.compare(run_attention<float>(p), 1e-5, 1e-5, 1e-4);  // the inputs are float values
}

INSTANTIATE_TEST_SUITE_P(Fixtures, PyTorch, ::testing::Values("small_blocks", "long_row"));

}  // namespace
}  // namespace elastron::testing
