// Finite differences in double precision: the first rung of the ladder of oracles.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include "core/philox.h"
#include "core/tensor.h"

namespace elastron::test {

// Normal numbers, a function of the seed.
inline Tensor random_tensor(const Shape& shape, DType dtype, Device& device, uint64_t seed) {
  const RandomStream stream(seed, RandomPurpose::test);
  std::vector<double> values(size_t(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = stream.normal_at(i);
  if (dtype == DType::f64) return Tensor::from(values, shape, device);
  if (dtype == DType::f32) {
    return Tensor::from(std::vector<float>(values.begin(), values.end()), shape, device);
  }
  std::vector<bf16> rounded;
  for (const double v : values) rounded.emplace_back(float(v));
  return Tensor::from(rounded, shape, device);
}

inline double dot(const Tensor& a, const Tensor& b) {
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

// d(loss)/d(value) by central differences; loss() reads `value`, which is moved and put back.
inline double central_difference(double& value, const std::function<double()>& loss, double step) {
  const double keep = value;
  value = keep + step;
  const double up = loss();
  value = keep - step;
  const double down = loss();
  value = keep;
  return (up - down) / (2 * step);
}

// `gradient` is d(loss)/d(values); loss() reads `values` (float64), which are moved and put back.
inline void expect_gradient(const Tensor& values, const Tensor& gradient,
                            const std::function<double()>& loss, const std::string& what) {
  constexpr double kStep = 1e-5;
  ASSERT_EQ(values.numel(), gradient.numel()) << what;
  for (int64_t i = 0; i < values.numel(); ++i) {
    const double want = central_difference(values.data<double>()[i], loss, kStep);
    const double got = gradient.data<double>()[i];
    ASSERT_NEAR(got, want, 2e-8 * (1 + std::abs(want))) << what << " element " << i;
  }
}

}  // namespace elastron::test
