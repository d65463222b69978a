// Oracles of routed attention that its tests share: finite differences of the selected output, and
// the fixtures that PyTorch's autograd made.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/file/safetensors.h"
#include "tests/ops/routed_attention_problem.h"

namespace elastron::testing {

// The sum of the selected output times p.d_out.
inline double attention_loss(const AttentionProblem& p) {
  const AttentionRun run = run_attention<double>(p, ops::Branches::selected, false);
  double sum = 0;
  for (size_t i = 0; i < run.selected.size(); ++i) sum += run.selected[i] * p.d_out[i];
  return sum;
}

// The gradients of q, k and v of `run`, which is p's, along random directions.
inline void expect_directional_gradients(AttentionProblem p, const AttentionRun& run, double step,
                                         int directions, uint64_t seed) {
  const std::pair<std::vector<double>*, const std::vector<double>*> inputs[] = {
      {&p.q, &run.dq}, {&p.k, &run.dk}, {&p.v, &run.dv}};
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal;
  for (const auto& input : inputs) {
    std::vector<double>* values = input.first;
    const std::vector<double>* gradient = input.second;
    for (int repeat = 0; repeat < directions; ++repeat) {
      const std::vector<double> origin = *values;
      std::vector<double> direction(origin.size());
      double expected = 0;
      for (size_t i = 0; i < origin.size(); ++i) {
        direction[i] = normal(engine);
        expected += direction[i] * (*gradient)[i];
      }
      const auto at = [&](double way) {
        for (size_t i = 0; i < origin.size(); ++i) (*values)[i] = origin[i] + way * direction[i];
        return attention_loss(p);
      };
      const double above = at(step), below = at(-step);
      *values = origin;
      EXPECT_NEAR(expected, (above - below) / (2 * step), 1e-6 * (1 + std::abs(expected)));
    }
  }
}

// A gate's gradient is the difference of the branches: of every `stride`-th gate.
inline void expect_gate_gradients(AttentionProblem p, const AttentionRun& run, size_t stride,
                                  double tolerance) {
  for (size_t g = 0; g < p.gate.size(); g += stride) {
    const uint8_t before = p.gate[g];
    p.gate[g] = 1;
    const double full = attention_loss(p);
    p.gate[g] = 0;
    const double sparse = attention_loss(p);
    p.gate[g] = before;
    EXPECT_NEAR(run.d_gate[g], full - sparse, tolerance) << g;
  }
}

// A problem and what PyTorch says of it: tests/oracle/make_{attention,topk}_fixtures.py.
class AttentionFixture {
 public:
  // `name`: below the folder of fixtures, without its ending.
  explicit AttentionFixture(const std::string& name)
      : file_(ELASTRON_TEST_FIXTURES "/" + name + ".safetensors") {
    const auto shape = numbers("shape"), rule = numbers("rule");
    problem.q_heads = shape[0];
    problem.kv_heads = shape[1];
    problem.head_dim = shape[2];
    problem.rule = {rule[0], rule[1], rule[2]};
    problem.scale = 1 / std::sqrt(double(problem.head_dim));
    problem.cu_seqlens = numbers("cu_seqlens");
    for (const int32_t z : numbers("gate")) problem.gate.push_back(uint8_t(z));
    problem.q = values("q");
    problem.k = values("k");
    problem.v = values("v");
    problem.d_out = values("d_out");
  }

  std::vector<int32_t> numbers(const char* name) const {
    return file_.read(name, device_).to_vector<int32_t>();
  }
  // Gate gradients are sums over all rows of a sequence: they may be off by more.
  void compare(const AttentionRun& run, double outputs, double gradients, double gates) const {
    EXPECT_LE(largest_error(run.selected, values("selected")), outputs);
    EXPECT_LE(largest_error(run.other, values("other")), outputs);
    EXPECT_LE(largest_error(run.lse, values("lse")), outputs);
    EXPECT_LE(largest_error(run.dq, values("dq")), gradients);
    EXPECT_LE(largest_error(run.dk, values("dk")), gradients);
    EXPECT_LE(largest_error(run.dv, values("dv")), gradients);
    EXPECT_LE(largest_error(run.d_gate, values("d_gate")), gates);
  }

  AttentionProblem problem;

 private:
  std::vector<double> values(const char* name) const {
    return file_.read(name, device_).to_vector<double>();
  }

  mutable CpuDevice device_;
  SafetensorsFile file_;
};

}  // namespace elastron::testing
