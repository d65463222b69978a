// Frozen weights in e4m3 with a scale per block: quantised by the published rule; products, the
// embedding and their gradients are those of the weight that values and scales stand for, also where
// it is a part that begins within a block.
#include <gtest/gtest.h>

#include <cmath>

#include "core/float8.h"
#include "ops/dequantise.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/quantise.h"
#include "tests/support/gradcheck.h"
#include "tests/support/thread_counts.h"

namespace elastron::ops {
namespace {

using test::dot;
using test::random_tensor;

class Quantised : public ::testing::Test {
 protected:
  Tensor rnd(const Shape& shape, uint64_t seed, DType dtype) {
    return random_tensor(shape, dtype, cpu_, seed);
  }
  CpuDevice cpu_;
};

// By value, in double: what a weight stands for.
std::vector<double> numbers(const Tensor& values, const WeightScale& s) {
  std::vector<double> all;
  for (int64_t r = 0; r < values.size(0); ++r) {
    for (int64_t c = 0; c < values.size(1); ++c) {
      const int64_t block =
          (s.out_offset + r) / s.out_block * s.values.size(1) + (s.in_offset + c) / s.in_block;
      all.push_back(double(float(values.data<e4m3>()[r * values.size(1) + c])) *
                    double(s.values.data<float>()[block]));
    }
  }
  return all;
}

// The block at (2, 2), of blocks of 4 x 6, is zeros; another is next to nothing.
Tensor odd_weight(const Tensor& random) {
  Tensor w = random.clone();
  for (int64_t r = 8; r < 12; ++r) {
    for (int64_t c = 12; c < 18; ++c) w.data<float>()[r * w.size(1) + c] = 0;
  }
  for (int64_t r = 0; r < 4; ++r) {
    for (int64_t c = 6; c < 12; ++c) w.data<float>()[r * w.size(1) + c] *= 1e-44f;
  }
  return w;
}

TEST_F(Quantised, ByThePublishedRule) {
  const int64_t rows = 15, columns = 23, out = 4, in = 6;
  const Tensor w = odd_weight(rnd({rows, columns}, 1, DType::f32));
  const QuantisedWeight q = quantise(w, {out, in});
  ASSERT_EQ(q.values.shape(), w.shape());
  ASSERT_EQ(q.scale.values.shape(), (Shape{4, 4}));
  const auto at = [&](int64_t r, int64_t c) { return w.data<float>()[r * columns + c]; };
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      float most = 0;
      for (int64_t i = r / out * out; i < std::min(rows, (r / out + 1) * out); ++i) {
        for (int64_t j = c / in * in; j < std::min(columns, (c / in + 1) * in); ++j) {
          most = std::max(most, std::abs(at(i, j)));
        }
      }
      const float scale = q.scale.values.data<float>()[r / out * 4 + c / in];
      if (most == 0) {
        EXPECT_EQ(scale, 1);
      } else if (most > 1e-30f) {
        EXPECT_EQ(scale, most / 448);
      }
      EXPECT_TRUE(std::isnormal(scale));
      const float value = q.values.data<e4m3>()[r * columns + c];
      // Half of the last of 4 bits, or of the smallest step.
      const float wanted = at(r, c) / scale;
      EXPECT_LE(std::abs(value - wanted), std::max(std::abs(wanted) / 16, 0x1p-10f));
      if (most > 1e-30f && std::abs(at(r, c)) == most) {
        EXPECT_EQ(std::abs(value), 448);
      }
    }
  }
  test::expect_same_on_any_threads([&] {
    const QuantisedWeight again = quantise(w, {out, in});
    return std::vector{again.values, again.scale.values};
  });
}

struct Case {
  int64_t rows, out, in, out_block, in_block, out_offset, in_offset;
};

// Odd sizes, parts that begin within a block, and sides beyond the parts that are turned at a time
// (1024 or 8192 rows, 2^20 weights).
TEST_F(Quantised, ProductsAreThoseOfTheWeightThatIsMeant) {
  for (const Case c : {Case{3, 10, 21, 4, 8, 0, 0},
                       {4, 10, 21, 4, 8, 3, 5},
                       {2, 7, 130, 128, 128, 100, 90},
                       {1030, 33, 48, 16, 16, 1, 0},
                       {8200, 3, 5, 2, 4, 1, 1},
                       {2, 700, 2000, 128, 128, 0, 64},
                       {5, 1, 1, 2, 2, 1, 1}}) {
    SCOPED_TRACE(testing::Message() << c.rows << " x " << c.out << " x " << c.in);
    WeightScale scale{.values = {},
                      .out_block = c.out_block,
                      .in_block = c.in_block,
                      .out_offset = c.out_offset,
                      .in_offset = c.in_offset};
    scale.values = rnd(scale.shape_for(c.out, c.in), 2, DType::f32);
    const Tensor values = quantise(rnd({c.out, c.in}, 1, DType::f32), {c.out, c.in}).values;
    const std::vector<double> meant = numbers(values, scale);
    const LinearWeight weight(values, scale);
    const LinearWeight exact(Tensor::from(meant, {c.out, c.in}, cpu_), WeightForm::in_place);
    const Tensor x = rnd({c.rows, c.in}, 3, DType::f64), dy = rnd({c.rows, c.out}, 4, DType::f64);
    const Tensor bias = rnd({c.out}, 5, DType::f64);
    EXPECT_EQ(dequantise(values, scale, DType::f64).to_vector<double>(), meant);
    const auto expect_close = [&](const Tensor& got, const Tensor& want, double tolerance) {
      const auto g = cast(got, DType::f64).to_vector<double>(), w = want.to_vector<double>();
      double most = 0;
      for (const double v : w) most = std::max(most, std::abs(v));
      for (size_t i = 0; i < w.size(); ++i) ASSERT_NEAR(g[i], w[i], tolerance * most) << i;
    };
    // Parts of a product add up in another order.
    for (const auto& [t, bound] :
         {std::pair{DType::f64, 1e-14}, {DType::f32, 3e-6}, {DType::bf16, 3.0 / 256}}) {
      const Tensor wanted =
          linear_forward(cast(cast(x, t), DType::f64), exact, cast(cast(bias, t), DType::f64));
      expect_close(linear_forward(cast(x, t), weight, cast(bias, t)), wanted, bound);
      const Tensor gradient = linear_dgrad(cast(cast(dy, t), DType::f64), exact);
      expect_close(linear_dgrad(cast(dy, t), weight), gradient, bound);
      Tensor sum = cast(x, t);
      linear_dgrad(cast(dy, t), weight, sum);
      expect_close(sum, add(cast(cast(x, t), DType::f64), gradient), bound);
    }
  }
}

// The gradient to the input is the derivative of the product.
TEST_F(Quantised, GradientByDifferences) {
  const QuantisedWeight q = quantise(rnd({6, 9}, 1, DType::f32), {4, 4});
  const LinearWeight weight(q.values, q.scale);
  const Tensor x = rnd({3, 9}, 2, DType::f64), dy = rnd({3, 6}, 3, DType::f64);
  test::expect_gradient(
      x, linear_dgrad(dy, weight), [&] { return dot(linear_forward(x, weight), dy); }, "x");
}

TEST_F(Quantised, RowsOfATable) {
  WeightScale scale{.values = {}, .out_block = 4, .in_block = 8, .out_offset = 3, .in_offset = 0};
  scale.values = rnd(scale.shape_for(10, 21), 2, DType::f32);
  const Tensor table = quantise(rnd({10, 21}, 1, DType::f32), {3, 7}).values;
  const Tensor ids = Tensor::from(std::vector<int32_t>{5, 2, 12, 11, 5}, {5}, cpu_);
  for (const DType t : {DType::f64, DType::f32, DType::bf16}) {
    // Rows 2 to 11 are here.
    const Tensor want = embedding_forward(ids, dequantise(table, scale, t), 2);
    const Tensor got = embedding_forward(ids, table, 2, scale, t);
    EXPECT_EQ(cast(got, DType::f64).to_vector<double>(),
              cast(want, DType::f64).to_vector<double>());
  }
  // Stored otherwise, without scales.
  const Tensor plain = rnd({10, 21}, 1, DType::bf16);
  EXPECT_EQ(embedding_forward(ids, plain, 2, {}, DType::f32).to_vector<float>(),
            embedding_forward(ids, cast(plain, DType::f32), 2).to_vector<float>());
}

TEST_F(Quantised, ScalesThatDoNotFitAreBugs) {
  const QuantisedWeight q = quantise(rnd({6, 9}, 1, DType::f32), {4, 4});
  WeightScale wrong = q.scale;
  wrong.out_offset = 3;  // then three rows of blocks
  EXPECT_THROW(LinearWeight(q.values, wrong), LogicError);
  wrong.out_offset = 4;
  EXPECT_THROW(LinearWeight(q.values, wrong), LogicError);
}

}  // namespace
}  // namespace elastron::ops
