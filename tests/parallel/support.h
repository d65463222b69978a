// For the tests of parallel/: a world per test, reproducible random tensors, comparisons.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "core/dispatch.h"
#include "core/tensor.h"
#include "parallel/mesh.h"
#include "parallel/world.h"

namespace elastron::parallel {

// The main program (tests/support/mpi_main.cpp) owns MPI; each test has a world of its own.
class WorldTest : public ::testing::Test {
 protected:
  void TearDown() override { world.finalize(); }

  CpuDevice device;
  World world;
};

// All factorisations of the world into data x context x tensor.
inline std::vector<MeshLayout> all_layouts(int ranks) {
  std::vector<MeshLayout> layouts;
  for (int tensor = 1; tensor <= ranks; ++tensor) {
    for (int context = 1; context * tensor <= ranks; ++context) {
      if (ranks % (context * tensor) == 0) {
        layouts.push_back({.data = ranks / context / tensor, .context = context, .tensor = tensor});
      }
    }
  }
  return layouts;
}

inline std::vector<double> random_values(int64_t count, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::uniform_real_distribution<double> uniform(-1, 1);
  std::vector<double> values(static_cast<size_t>(count));
  for (double& v : values) v = uniform(engine);
  return values;
}

inline Tensor tensor_of(const std::vector<double>& values, const Shape& shape, DType dtype,
                        Device& device) {
  return with_float_dtype(dtype, [&]<class T>() {
    std::vector<T> cast;
    for (const double v : values) cast.push_back(T(float(v)));
    if constexpr (std::is_same_v<T, double>) cast.assign(values.begin(), values.end());
    return Tensor::from(cast, shape, device);
  });
}

inline Tensor random_tensor(const Shape& shape, DType dtype, uint64_t seed, Device& device) {
  return tensor_of(random_values(shape.numel(), seed), shape, dtype, device);
}

inline std::vector<double> values_of(const Tensor& t) {
  return with_float_dtype(t.dtype(), [&]<class T>() {
    const auto source = t.to_vector<T>();
    return std::vector<double>(source.begin(), source.end());
  });
}

inline double dot(const Tensor& a, const Tensor& b) {
  const auto x = values_of(a), y = values_of(b);
  EXPECT_EQ(x.size(), y.size());
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

// Largest difference, relative to the largest expected magnitude.
inline void expect_close(const Tensor& actual, const Tensor& expected, double rtol,
                         const char* what) {
  ASSERT_EQ(actual.shape().str(), expected.shape().str()) << what;
  const auto x = values_of(actual), y = values_of(expected);
  double scale = 0, worst = 0;
  size_t at = 0;
  for (const double v : y) scale = std::max(scale, std::abs(v));
  for (size_t i = 0; i < x.size(); ++i) {
    const double error = std::abs(x[i] - y[i]);
    if (!(error <= worst)) {
      worst = error;
      at = i;
    }
  }
  EXPECT_TRUE(worst <= rtol * scale) << what << ": " << x[at] << " instead of " << y[at] << " at "
                                     << at << ", bound " << rtol * scale;
}

template <class T>
bool holds(const Tensor& t, const std::vector<T>& values) {
  return t.bytes() == values.size() * sizeof(T) &&
         (values.empty() || std::memcmp(t.on_host().raw(), values.data(), t.bytes()) == 0);
}

// Every rank of the group holds the same bytes.
inline void expect_same_bits(const Tensor& t, Communicator& group) {
  const Tensor whole = t.contiguous() ? t : t.clone();
  const std::string mine(static_cast<const char*>(whole.raw()), whole.bytes());
  EXPECT_EQ(group.broadcast_host(mine, 0), mine) << "rank " << group.rank();
}

// Sum over the group of a number each rank has.
inline double sum_of(double value, Communicator& group) {
  group.all_reduce_host(std::span<double>(&value, 1), ReduceOp::sum);
  return value;
}

}  // namespace elastron::parallel
