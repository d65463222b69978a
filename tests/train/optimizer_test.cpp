#include "train/step/optimizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace elastron::train {
namespace {

Parameter make_parameter(const std::string& name, std::vector<double> values, Device& device,
                         ParameterGroup group) {
  Parameter p;
  p.name = name;
  p.logical_shape = {int64_t(values.size())};
  p.group = group;
  p.trainable = true;
  p.value = Tensor::from(values, p.logical_shape, device);
  p.master = p.value;
  return p;
}

// docs/method.md, Worked values, 7: lambda 0.2 with constant gradient 0.0625 ascends to 0.2000163,
// 0.2000490.
TEST(Optimizer, LambdaAscendsWithWarmup) {
  CpuDevice cpu;
  Parameter lambda = make_parameter("objective.lambda1", {0.2}, cpu, ParameterGroup::lambda);
  lambda.maximize = true;
  Optimizer optimizer({&lambda}, {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8}, 0.1);
  const double expected[] = {0.2, 0.2000163, 0.2000490};
  for (int step = 0; step < 3; ++step) {
    lambda.grad.data<double>()[0] = 0.0625;
    optimizer.step(step + 1, {{ParameterGroup::lambda, 1e-3 * step / 60.0}}, 1.0);
    EXPECT_NEAR(lambda.master.data<double>()[0], expected[step], 5e-8) << step;
  }
}

TEST(Optimizer, LeavesFrozenParametersAlone) {
  CpuDevice cpu;
  Parameter frozen = make_parameter("w", {1, 2}, cpu, ParameterGroup::backbone);
  frozen.trainable = false;
  Parameter trained = make_parameter("r", {1, 2}, cpu, ParameterGroup::router);
  Optimizer optimizer({&frozen, &trained}, {}, 0.1);
  EXPECT_EQ(optimizer.parameters().size(), 1u);
  EXPECT_FALSE(frozen.grad.defined());
  trained.grad.data<double>()[0] = 1;
  optimizer.step(1, {{ParameterGroup::router, 0.1}}, 1.0);
  EXPECT_EQ(frozen.value.to_vector<double>(), (std::vector<double>{1, 2}));
  // First Adam update has size lr; decay multiplies by 1 - lr * 0.1.
  EXPECT_NEAR(trained.value.data<double>()[0], 0.99 - 0.1, 1e-6);
  EXPECT_NEAR(trained.value.data<double>()[1], 1.98, 1e-12);
}

TEST(Clip, OnlyShrinks) {
  EXPECT_EQ(clip_factor(1.0, 5.0), 1.0);
  EXPECT_NEAR(clip_factor(10.0, 5.0), 0.5, 1e-6);
  EXPECT_EQ(clip_factor(1e9, 0.0), 1.0);
}

// Parameters of so many elements.
std::vector<int> shared(const std::vector<int64_t>& sizes, int ranks) {
  std::vector<Parameter> parameters(sizes.size());
  ParameterList list;
  for (size_t i = 0; i < sizes.size(); ++i) {
    parameters[i].logical_shape = {sizes[i], 1};
    list.push_back(&parameters[i]);
  }
  return share_parameters(list, ranks);
}

TEST(ShareParameters, TheLargestGoFirstToWhoHasLeast) {
  EXPECT_EQ(shared({}, 4), (std::vector<int>{}));
  EXPECT_EQ(shared({5, 1, 7}, 1), (std::vector<int>{0, 0, 0}));
  // 8 | 7 | 5, then 4 to the last, 3 to the second, 1 to the first.
  EXPECT_EQ(shared({1, 3, 4, 5, 7, 8}, 3), (std::vector<int>{0, 1, 2, 2, 1, 0}));
  // Equals in their order: every rank decides the same.
  EXPECT_EQ(shared({2, 2, 2, 2}, 2), (std::vector<int>{0, 1, 0, 1}));
  EXPECT_EQ(shared({3, 9}, 4), (std::vector<int>{1, 0}));
}

TEST(ShareParameters, NoRankHasMuchMoreThanAnother) {
  const std::vector<int64_t> sizes = {4096, 64, 1024, 1024, 512, 4096, 64, 2048, 2048, 1024, 64};
  const int64_t largest = 4096;
  for (const int ranks : {2, 3, 4}) {
    std::vector<int64_t> load(size_t(ranks), 0);
    const auto owners = shared(sizes, ranks);
    for (size_t i = 0; i < sizes.size(); ++i) {
      ASSERT_TRUE(owners[i] >= 0 && owners[i] < ranks);
      load[size_t(owners[i])] += sizes[i];
    }
    EXPECT_LE(std::ranges::max(load) - std::ranges::min(load), largest) << ranks;
    EXPECT_GT(std::ranges::min(load), 0) << ranks;
  }
}

}  // namespace
}  // namespace elastron::train
