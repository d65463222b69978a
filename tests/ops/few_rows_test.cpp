// Products of few rows, as decoding has them: every storage against a plain product in double
// precision, and a row's results the same bits whatever rows stand beside it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "core/float8.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "tests/support/gradcheck.h"
#include "tests/support/thread_counts.h"

namespace elastron::ops {
namespace {

struct Shapes {
  int64_t out, in;
};
// Odd ones, one below and above a register, and one that several threads share.
constexpr Shapes kShapes[] = {{1, 1}, {7, 15}, {9, 17}, {33, 100}, {130, 129}, {300, 64}};

class LinearOfFewRows : public ::testing::TestWithParam<std::pair<DType, DType>> {
 protected:
  DType activations() const { return GetParam().first; }
  DType storage() const { return GetParam().second; }
  Tensor rnd(const Shape& shape, uint64_t seed, DType dtype) {
    return test::random_tensor(shape, dtype, cpu_, seed);
  }
  static std::vector<double> doubles(const Tensor& x) {
    return cast(x, DType::f64).to_vector<double>();
  }

  // A weight and what its numbers are.
  struct Weight {
    LinearWeight weight;
    std::vector<double> values;
  };
  Weight weight(const Shapes& s) {
    if (storage() != DType::e4m3) {
      const Tensor w = rnd({s.out, s.in}, 2, storage());
      return {LinearWeight(w, WeightForm::as_stored), doubles(w)};
    }
    const auto normal = rnd({s.out, s.in}, 2, DType::f32).to_vector<float>();
    std::vector<e4m3> stored;
    for (const float v : normal) stored.emplace_back(v);
    // A part of a larger weight, whose first blocks are cut.
    const WeightScale like{{}, 8, 12, 3, 5};
    const Tensor scale = rnd(like.shape_for(s.out, s.in), 3, DType::f32);
    const int64_t across = scale.size(1);
    std::vector<double> values;
    for (int64_t i = 0; i < s.out * s.in; ++i) {
      const int64_t block = (i / s.in + 3) / 8 * across + (i % s.in + 5) / 12;
      values.push_back(double(float(stored[size_t(i)])) * double(scale.data<float>()[block]));
    }
    return {LinearWeight(Tensor::from(stored, {s.out, s.in}, cpu_), {scale, 8, 12, 3, 5},
                         WeightForm::as_stored),
            values};
  }

  CpuDevice cpu_;
};

TEST_P(LinearOfFewRows, EqualsAPlainProduct) {
  for (const Shapes& s : kShapes) {
    const Weight w = weight(s);
    const Tensor bias = rnd({s.out}, 4, activations());
    for (int64_t rows = 1; rows <= kRowsAlike; ++rows) {
      const Tensor x = rnd({rows, s.in}, uint64_t(10 + rows), activations());
      const auto a = doubles(x), b = doubles(bias);
      for (const bool with_bias : {false, true}) {
        const auto got = doubles(linear_forward(x, w.weight, with_bias ? bias : Tensor()));
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t o = 0; o < s.out; ++o) {
            double want = with_bias ? b[size_t(o)] : 0, size = std::abs(want);
            for (int64_t i = 0; i < s.in; ++i) {
              const double term = a[size_t(r * s.in + i)] * w.values[size_t(o * s.in + i)];
              want += term;
              size += std::abs(term);
            }
            // Roundings of a float32 sum of in + 1 terms (2^-24 each, and one of a scaled weight),
            // and that of the result.
            const double bound = double(s.in + 3) * 0x1p-24 * size +
                                 (activations() == DType::bf16 ? 0x1p-8 * std::abs(want) : 0);
            ASSERT_NEAR(got[size_t(r * s.out + o)], want, bound)
                << rows << " x " << s.in << " x " << s.out << ", " << r << " " << o;
          }
        }
      }
    }
  }
}

TEST_P(LinearOfFewRows, GivesARowWhatItGetsAlone) {
  for (const Shapes& s : kShapes) {
    const Weight w = weight(s);
    const Tensor bias = rnd({s.out}, 4, activations());
    const Tensor x = rnd({kRowsAlike, s.in}, 10, activations());
    for (int64_t rows = 1; rows <= kRowsAlike; ++rows) {
      const Tensor together = linear_forward(x.slice(0, 0, rows).clone(), w.weight, bias);
      for (int64_t r = 0; r < rows; ++r) {
        const Tensor alone = linear_forward(x.slice(0, r, r + 1).clone(), w.weight, bias);
        const Tensor row = together.slice(0, r, r + 1).clone();
        ASSERT_EQ(std::memcmp(row.raw(), alone.raw(), alone.bytes()), 0)
            << "row " << r << " of " << rows << ", " << s.in << " x " << s.out;
      }
    }
  }
}

TEST_P(LinearOfFewRows, DoesNotDependOnThreads) {
  const Shapes s{701, 130};
  const Weight w = weight(s);
  const Tensor x = rnd({5, s.in}, 10, activations());
  test::expect_same_on_any_threads([&] { return std::vector{linear_forward(x, w.weight)}; });
}

constexpr std::pair<DType, DType> kTypes[] = {
    {DType::f32, DType::f32},   {DType::f32, DType::bf16}, {DType::f32, DType::e4m3},
    {DType::bf16, DType::bf16}, {DType::bf16, DType::f32}, {DType::bf16, DType::e4m3},
};
INSTANTIATE_TEST_SUITE_P(InEveryStorage, LinearOfFewRows, ::testing::ValuesIn(kTypes));

}  // namespace
}  // namespace elastron::ops
