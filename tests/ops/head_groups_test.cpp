// Sums over groups of heads and their adjoint, against plain loops; a gate for all heads of a group.
#include "ops/head_groups.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/gradcheck.h"
#include "tests/support/thread_counts.h"

namespace elastron::ops {
namespace {

using test::dot;
using test::random_tensor;

struct Case {
  int64_t documents, heads, groups, width;
};
const Case kCases[] = {{1, 1, 1, 1}, {3, 8, 1, 5}, {2, 8, 4, 6}, {4, 6, 6, 3}, {0, 4, 1, 2}};

TEST(HeadGroups, SumAndSpreadAreTheirFormulas) {
  CpuDevice cpu;
  for (const Case& c : kCases) {
    const Tensor x = random_tensor({c.documents, c.heads, c.width}, DType::f64, cpu, 1);
    const Tensor d = random_tensor({c.documents, c.groups, c.width}, DType::f64, cpu, 2);
    const auto in = x.to_vector<double>(), of_groups = d.to_vector<double>();
    const Tensor sum = sum_heads(x, c.groups, 0.25), spread = spread_over_heads(d, c.heads, 0.25);
    ASSERT_EQ(sum.shape(), d.shape());
    ASSERT_EQ(spread.shape(), x.shape());
    const int64_t each = c.heads / c.groups;
    std::vector<double> want_sum(of_groups.size(), 0.0), want_spread(in.size());
    for (int64_t s = 0; s < c.documents; ++s) {
      for (int64_t h = 0; h < c.heads; ++h) {
        for (int64_t i = 0; i < c.width; ++i) {
          const auto group = size_t((s * c.groups + h / each) * c.width + i);
          const auto head = size_t((s * c.heads + h) * c.width + i);
          want_sum[group] += in[head];
          want_spread[head] = 0.25 * of_groups[group];
        }
      }
    }
    for (double& v : want_sum) v *= 0.25;
    EXPECT_EQ(sum.to_vector<double>(), want_sum);
    EXPECT_EQ(spread.to_vector<double>(), want_spread);
    // One is the other's adjoint, so that it is its gradient.
    EXPECT_NEAR(dot(sum, d), dot(x, spread), 1e-12);
  }
}

TEST(HeadGroups, FiniteDifferences) {
  CpuDevice cpu;
  const Tensor x = random_tensor({2, 6, 4}, DType::f64, cpu, 3);
  const Tensor d = random_tensor({2, 2, 4}, DType::f64, cpu, 4);
  test::expect_gradient(
      x, spread_over_heads(d, 6, 1.0 / 3), [&] { return dot(sum_heads(x, 2, 1.0 / 3), d); },
      "heads");
}

TEST(HeadGroups, GatesAreTheirGroups) {
  CpuDevice cpu;
  const Tensor gate = Tensor::from(std::vector<uint8_t>{1, 0, 0, 1}, {2, 2}, cpu);
  EXPECT_EQ(spread_gate(gate, 4).to_vector<uint8_t>(),
            (std::vector<uint8_t>{1, 1, 0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(spread_gate(gate, 2).to_vector<uint8_t>(), gate.to_vector<uint8_t>());
}

TEST(HeadGroups, AnyNumberOfThreads) {
  CpuDevice cpu;
  const Tensor x = random_tensor({40, 32, 128}, DType::f32, cpu, 5);
  test::expect_same_on_any_threads([&] {
    return std::vector<Tensor>{sum_heads(x, 1, 1.0 / 32), spread_over_heads(x, 64, 0.5)};
  });
}

TEST(HeadGroups, WhatIsNotGroupsOfHeadsIsRefused) {
  CpuDevice cpu;
  const Tensor x = Tensor::zeros({2, 6, 4}, DType::f32, cpu);
  EXPECT_THROW(sum_heads(x, 4, 1), LogicError);
  EXPECT_THROW(sum_heads(x, 0, 1), LogicError);
  EXPECT_THROW(sum_heads(x.view({12, 4}), 2, 1), LogicError);
  EXPECT_THROW(spread_over_heads(x, 8, 1), LogicError);
  EXPECT_THROW(spread_gate(Tensor::zeros({2, 2}, DType::f32, cpu), 4), LogicError);
  EXPECT_THROW(spread_gate(Tensor::zeros({2, 3}, DType::u8, cpu), 4), LogicError);
}

}  // namespace
}  // namespace elastron::ops
