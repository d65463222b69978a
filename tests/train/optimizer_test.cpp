#include "train/step/optimizer.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace elastron::train
