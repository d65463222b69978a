// Pooling of key states (docs/method.md, Pooling): against the formula token by token, finite
// differences, and what is not read.
#include "ops/boundary_pool.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops/elementwise.h"
#include "tests/support/gradcheck.h"
#include "tests/support/thread_counts.h"

namespace elastron::ops {
namespace {

using test::dot;
using test::expect_gradient;
using test::random_tensor;

constexpr int64_t kHeads = 3, kDim = 5;

// Lengths around W and 2W for W = 4, empty segments, segments that leave tokens before and behind.
struct Batch {
  std::vector<PoolSegment> segments;
  int64_t tokens = 0;
};
Batch ragged() {
  Batch b;
  for (const int64_t length : {1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 30}) {
    b.tokens += 2;
    b.segments.push_back({b.tokens, b.tokens + length});
    b.tokens += length + 1;
  }
  b.segments.push_back({7, 3});  // end before begin pools nothing
  return b;
}

const PoolRule kRules[] = {{.boundary = true, .budget = 4},
                           {.boundary = true, .budget = 4, .dedup = true},
                           {.boundary = true, .budget = 1},
                           {.boundary = false}};

// As docs/method.md, Pooling words it, with inclusive first and last token: how often token j
// counts.
int64_t multiplicity(const PoolSegment& s, const PoolRule& rule, int64_t j) {
  const int64_t first = s.begin, last = s.end - 1;
  if (j < first || j > last) return 0;
  if (!rule.boundary) return 1;
  const bool pre = j <= std::min(first + rule.budget - 1, last);
  const bool suf = j >= std::max(first, last - rule.budget + 1);
  return rule.dedup ? int64_t(pre || suf) : int64_t(pre) + int64_t(suf);
}

TEST(BoundaryPool, IsTheFormula) {
  CpuDevice cpu;
  const Batch batch = ragged();
  const Tensor k = random_tensor({batch.tokens, kHeads, kDim}, DType::f64, cpu, 1);
  const double* x = k.data<double>();
  for (const PoolRule& rule : kRules) {
    const auto pooled = boundary_pool_forward(k, batch.segments, rule).to_vector<double>();
    for (size_t s = 0; s < batch.segments.size(); ++s) {
      for (int64_t c = 0; c < kHeads * kDim; ++c) {
        double sum = 0;
        int64_t count = 0;
        for (int64_t j = 0; j < batch.tokens; ++j) {
          const int64_t times = multiplicity(batch.segments[s], rule, j);
          sum += double(times) * x[j * kHeads * kDim + c];
          count += times;
        }
        EXPECT_NEAR(pooled[s * kHeads * kDim + size_t(c)], count > 0 ? sum / double(count) : 0.0,
                    3e-14)
            << "segment " << s;
      }
    }
  }
}

TEST(BoundaryPool, GradientIsTheDerivative) {
  CpuDevice cpu;
  const Batch batch = ragged();
  const auto segments = int64_t(batch.segments.size());
  const Tensor k = random_tensor({batch.tokens, kHeads, kDim}, DType::f64, cpu, 2);
  const Tensor d = random_tensor({segments, kHeads, kDim}, DType::f64, cpu, 3);
  for (const PoolRule& rule : kRules) {
    Tensor dk = Tensor::zeros(k.shape(), DType::f64, cpu);
    boundary_pool_backward(d, batch.segments, rule, dk);
    expect_gradient(
        k, dk, [&] { return dot(boundary_pool_forward(k, batch.segments, rule), d); }, "k");
  }
}

TEST(BoundaryPool, BackwardAddsToWhatIsThere) {
  CpuDevice cpu;
  const Batch batch = ragged();
  const Tensor d =
      random_tensor({int64_t(batch.segments.size()), kHeads, kDim}, DType::f64, cpu, 3);
  Tensor once = Tensor::zeros({batch.tokens, kHeads, kDim}, DType::f64, cpu);
  boundary_pool_backward(d, batch.segments, kRules[0], once);
  const Tensor before = random_tensor(once.shape(), DType::f64, cpu, 4);
  Tensor dk = before.clone();
  boundary_pool_backward(d, batch.segments, kRules[0], dk);
  const auto got = dk.to_vector<double>(), a = before.to_vector<double>(),
             b = once.to_vector<double>();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_DOUBLE_EQ(got[i], a[i] + b[i]);
}

// The cost of `boundary` does not depend on the length: the middle is neither read nor written.
TEST(BoundaryPool, TouchesTheEndsOnly) {
  CpuDevice cpu;
  constexpr int64_t kTokens = 1000, kBudget = 100;
  std::vector<float> values(kTokens, std::numeric_limits<float>::quiet_NaN());
  std::fill(values.begin(), values.begin() + kBudget, 2.0f);
  std::fill(values.end() - kBudget, values.end(), 4.0f);
  const PoolRule rule{.boundary = true, .budget = kBudget};
  const std::vector<PoolSegment> whole = {{0, kTokens}};
  const Tensor k = Tensor::from(values, {kTokens, 1, 1}, cpu);
  EXPECT_EQ(boundary_pool_forward(k, whole, rule).to_vector<float>(), std::vector<float>{3.0f});
  EXPECT_TRUE(
      std::isnan(boundary_pool_forward(k, whole, {.boundary = false}).to_vector<float>()[0]));

  Tensor dk = Tensor::zeros({kTokens, 1, 1}, DType::f32, cpu);
  boundary_pool_backward(Tensor::from(std::vector<float>{200}, {1, 1, 1}, cpu), whole, rule, dk);
  const auto d = dk.to_vector<float>();
  for (int64_t t = 0; t < kTokens; ++t) {
    EXPECT_EQ(d[size_t(t)], t < kBudget || t >= kTokens - kBudget ? 1.0f : 0.0f) << t;
  }
}

TEST(BoundaryPool, LowPrecisionSumsInFloat) {
  CpuDevice cpu;
  const Batch batch = ragged();
  const Tensor exact = random_tensor({batch.tokens, kHeads, kDim}, DType::bf16, cpu, 5);
  const auto want =
      boundary_pool_forward(cast(exact, DType::f64), batch.segments, kRules[0]).to_vector<double>();
  for (const DType t : {DType::f32, DType::bf16}) {
    const Tensor pooled = boundary_pool_forward(cast(exact, t), batch.segments, kRules[0]);
    const auto got = pooled.to_vector<float>();  // master dtype for both
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(double(got[i]), want[i], 1e-6) << i;
  }
}

TEST(BoundaryPool, BfloatGradientRoundsOnce) {
  CpuDevice cpu;
  // Three tokens, W = 2: the middle one counts twice. 1 + 0.0118 / 4 rounds to 1, and would do so
  // twice; 1 + 2 * 0.0118 / 4 rounds to the next bf16.
  Tensor dk = Tensor::from(std::vector<bf16>(3, bf16(1.0f)), {3, 1, 1}, cpu);
  const Tensor d = Tensor::from(std::vector<float>{0.0118f}, {1, 1, 1}, cpu);
  boundary_pool_backward(d, {{0, 3}}, {.boundary = true, .budget = 2}, dk);
  const auto got = dk.to_vector<bf16>();
  EXPECT_EQ(float(got[0]), 1.0f);
  EXPECT_EQ(float(got[1]), 1.0078125f);
  EXPECT_EQ(float(got[2]), 1.0f);
}

// Keys that are a slice of a wider projection (any token stride).
TEST(BoundaryPool, StridedKeys) {
  CpuDevice cpu;
  const Batch batch = ragged();
  const Tensor wide = random_tensor({batch.tokens, kHeads + 4, kDim}, DType::f64, cpu, 6);
  const Tensor k = wide.slice(1, 2, 2 + kHeads);
  EXPECT_EQ(boundary_pool_forward(k, batch.segments, kRules[0]).to_vector<double>(),
            boundary_pool_forward(k.clone(), batch.segments, kRules[0]).to_vector<double>());
  Tensor dk_wide = Tensor::zeros(wide.shape(), DType::f64, cpu);
  Tensor dk = dk_wide.slice(1, 2, 2 + kHeads);
  const Tensor d =
      random_tensor({int64_t(batch.segments.size()), kHeads, kDim}, DType::f64, cpu, 7);
  boundary_pool_backward(d, batch.segments, kRules[0], dk);
  Tensor packed = Tensor::zeros(k.shape(), DType::f64, cpu);
  boundary_pool_backward(d, batch.segments, kRules[0], packed);
  EXPECT_EQ(dk.to_vector<double>(), packed.to_vector<double>());
  for (const double v : dk_wide.slice(1, 0, 2).to_vector<double>()) EXPECT_EQ(v, 0.0);
}

TEST(BoundaryPool, SameBitsForAnyThreadCount) {
  CpuDevice cpu;
  const Tensor k = random_tensor({900, 4, 64}, DType::f32, cpu, 8);
  const std::vector<PoolSegment> segments = {{0, 300}, {310, 600}, {600, 899}};
  test::expect_same_on_any_threads([&] {
    return std::vector<Tensor>{boundary_pool_forward(k, segments, {}),
                               boundary_pool_forward(k, segments, {.boundary = false})};
  });
}

TEST(BoundaryPool, RefusesSegmentsBeyondTheBatch) {
  CpuDevice cpu;
  const Tensor k = random_tensor({4, 1, 2}, DType::f32, cpu, 9);
  EXPECT_THROW(boundary_pool_forward(k, {{0, 5}}, {}), LogicError);
  EXPECT_THROW(boundary_pool_forward(k, {{-1, 2}}, {}), LogicError);
  EXPECT_THROW(boundary_pool_forward(k, {{0, 2}}, {.budget = 0}), LogicError);
}

}  // namespace
}  // namespace elastron::ops
