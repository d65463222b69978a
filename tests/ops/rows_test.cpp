// Rows by index: what is moved and summed, gradients by finite differences, strides, the same bits
// for any number of threads.
#include "ops/rows.h"

#include <gtest/gtest.h>

#include "core/meta_device.h"
#include "ops/elementwise.h"
#include "tests/support/gradcheck.h"
#include "tests/support/thread_counts.h"

namespace elastron::ops {
namespace {

using test::dot;
using test::expect_gradient;
using test::random_tensor;

class Rows : public ::testing::Test {
 protected:
  Tensor rnd(const Shape& shape, uint64_t seed, DType dtype = DType::f64) {
    return random_tensor(shape, dtype, cpu_, seed);
  }
  Tensor ints(const std::vector<int32_t>& values) {
    return Tensor::from(values, {int64_t(values.size())}, cpu_);
  }
  // The way back of a gather by `index` from `rows` rows.
  RowSums sums_of(const std::vector<int32_t>& index, int64_t rows) {
    std::vector<int32_t> bounds = {0}, copies;
    for (int32_t r = 0; r < rows; ++r) {
      for (size_t i = 0; i < index.size(); ++i) {
        if (index[i] == r) copies.push_back(int32_t(i));
      }
      bounds.push_back(int32_t(copies.size()));
    }
    return {ints(bounds), ints(copies)};
  }
  static std::vector<float> row(const Tensor& x, int64_t i) {
    return x.slice(0, i, i + 1).to_vector<float>();
  }
  CpuDevice cpu_;
};

TEST_F(Rows, GatherAndScatter) {
  const Tensor x = rnd({6, 4}, 1, DType::f32);
  const Tensor rows = ints({5, 0, 3});
  const Tensor g = gather_rows(x, rows);
  Tensor y = Tensor::zeros({6, 4}, DType::f32, cpu_);
  scatter_rows(g, rows, y);
  for (int64_t r = 0; r < 6; ++r) {
    const bool moved = r == 5 || r == 0 || r == 3;
    EXPECT_EQ(row(y, r), moved ? row(x, r) : std::vector<float>(4, 0.0f));
  }
}

TEST_F(Rows, NegativeOnesAreZerosOrLeftOut) {
  const Tensor x = rnd({4, 3}, 1, DType::f32), index = ints({-1, 2, 3, -1, -1, 0});
  const Tensor g = rnd({6, 3}, 3, DType::f32);  // no zeros yet
  gather_rows({x}, index, {g});
  const std::vector<float> zeros(3, 0.0f);
  for (const int64_t i : {0, 3, 4}) EXPECT_EQ(row(g, i), zeros) << i;
  EXPECT_EQ(row(g, 1), row(x, 2));
  EXPECT_EQ(row(g, 2), row(x, 3));
  EXPECT_EQ(row(g, 5), row(x, 0));

  Tensor y = rnd({4, 3}, 2, DType::f32), z = y.clone();
  scatter_rows(g, index, y);
  for (const int64_t i : {2, 3, 0}) EXPECT_EQ(row(y, i), row(x, i)) << i;
  EXPECT_EQ(row(y, 1), row(z, 1));
  const Tensor before = z.clone();
  add_rows(g, index, z);
  EXPECT_EQ(row(z, 1), row(before, 1));
  for (const int64_t i : {2, 3, 0}) {
    for (size_t k = 0; k < 3; ++k) EXPECT_EQ(row(z, i)[k], row(before, i)[k] + row(x, i)[k]);
  }
}

// Some of the heads of two tensors, in and out.
TEST_F(Rows, OfSeveralTensorsAnyStrideApart) {
  const Tensor a = rnd({5, 6, 2}, 1, DType::f32), b = rnd({5, 6, 2}, 2, DType::f32);
  const Tensor both = Tensor::zeros({4, 3, 2, 2}, DType::f32, cpu_);
  gather_rows({a.slice(1, 2, 4), b.slice(1, 4, 6)}, ints({3, 4, -1, 0}),
              {both.slice(1, 0, 1), both.slice(1, 2, 3)});
  const auto part = [](const Tensor& t, int64_t row, int64_t begin, int64_t end) {
    return t.slice(0, row, row + 1).slice(1, begin, end).to_vector<float>();
  };
  const std::vector<float> zeros(4, 0.0f);
  for (const auto& [i, r] : {std::pair<int64_t, int64_t>{0, 3}, {1, 4}, {3, 0}}) {
    EXPECT_EQ(part(both, i, 0, 1), part(a, r, 2, 4));
    EXPECT_EQ(part(both, i, 1, 2), zeros);
    EXPECT_EQ(part(both, i, 2, 3), part(b, r, 4, 6));
  }
  EXPECT_EQ(part(both, 2, 0, 3), std::vector<float>(12, 0.0f));

  // Without an index rows keep their places; more tensors than a kernel takes; bytes.
  std::vector<Tensor> from, to;
  const Tensor whole = Tensor::zeros({3, 20}, DType::u8, cpu_);
  for (int64_t i = 0; i < 20; ++i) {
    from.push_back(Tensor::from(std::vector<uint8_t>(3, uint8_t(i + 1)), {3, 1}, cpu_));
    to.push_back(whole.slice(1, i, i + 1));
  }
  gather_rows(from, {}, to);
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(whole.data<uint8_t>()[r * 20 + i], i + 1);
  }
}

TEST_F(Rows, SumIsTheGradientOfGather) {
  const std::vector<int32_t> index = {0, 1, 2, 5, 5, 1, 2, 3, 0, 5};  // not 4; runs; three times
  Tensor a = rnd({6, 3}, 1), b = rnd({6, 3}, 2);
  const Tensor da = rnd({10, 3}, 3), db = rnd({10, 3}, 4);
  const auto loss = [&] {
    const Tensor y = Tensor::empty({10, 2, 3}, DType::f64, cpu_);
    gather_rows({a, b}, ints(index), {y.slice(1, 0, 1), y.slice(1, 1, 2)});
    return dot(y.slice(1, 0, 1).clone(), da) + dot(y.slice(1, 1, 2).clone(), db);
  };
  const Tensor both = rnd({6, 2, 3}, 5);  // all of it is written
  sum_rows({da, db}, sums_of(index, 6), {both.slice(1, 0, 1), both.slice(1, 1, 2)});
  expect_gradient(a, both.slice(1, 0, 1).clone(), loss, "a");
  expect_gradient(b, both.slice(1, 1, 2).clone(), loss, "b");
}

TEST_F(Rows, AddIsTheGradientOfGather) {
  Tensor x = rnd({6, 3}, 1);
  const Tensor dy = rnd({4, 3}, 2), index = ints({4, -1, 0, 5}), before = rnd({6, 3}, 3);
  Tensor dx = before.clone();
  add_rows(dy, index, dx);
  const auto loss = [&] { return dot(gather_rows(x, index), dy) + dot(x, before); };
  expect_gradient(x, dx, loss, "x");
}

// In the order of the copies, in float32, rounded once.
TEST_F(Rows, SumsOfBfloat16RoundOnce) {
  const std::vector<float> terms = {256.0f, 1.0f, 1.0f, 1.0f, 0.0625f};
  std::vector<bf16> values;
  for (const float t : terms) values.emplace_back(t);
  const Tensor x = Tensor::from(values, {5, 1}, cpu_);
  const Tensor sum = Tensor::empty({2, 1}, DType::bf16, cpu_);
  sum_rows({x}, {ints({0, 4, 5}), ints({0, 1, 2, 3, 4})}, {sum});
  // With every sum rounded it would stay at 256.
  EXPECT_EQ(float(sum.data<bf16>()[0]), float(bf16(259.0f)));
  EXPECT_EQ(float(sum.data<bf16>()[1]), 0.0625f);
}

TEST_F(Rows, ThreadCountChangesNothing) {
  const Tensor x = rnd({900, 48}, 1, DType::f32);
  std::vector<int32_t> index;
  for (int32_t i = 0; i < 1500; ++i) index.push_back(i % 7 == 0 ? i % 31 : i % 900);
  const RowSums sums = sums_of(index, 900);
  const auto everything = [&] {
    std::vector<Tensor> results = {gather_rows(x, ints(index))};
    Tensor back = Tensor::empty({900, 48}, DType::f32, cpu_);
    sum_rows({results[0]}, sums, {back});
    results.push_back(back);
    return results;
  };
  test::expect_same_on_any_threads(everything);
}

TEST_F(Rows, CostIsOneLaunchForUpToSixteenTensors) {
  MetaDevice meta(DeviceKind::cuda);
  const auto launches = [&](size_t tensors, int64_t rows) {
    meta.clear_records();
    std::vector<Tensor> from, to;
    for (size_t i = 0; i < tensors; ++i) {
      from.push_back(Tensor::empty({9, 4}, DType::f32, meta));
      to.push_back(Tensor::empty({rows, 4}, DType::f32, meta));
    }
    gather_rows(from, Tensor::empty({rows}, DType::i32, meta), to);
    int64_t sum = 0;
    for (const auto& range : meta.ranges()) {
      for (const auto& op : range.ops) sum += op.sum.launches;
    }
    return sum;
  };
  EXPECT_EQ(launches(1, 5), 1);
  EXPECT_EQ(launches(16, 5), 1);
  EXPECT_EQ(launches(17, 5), 2);
  EXPECT_EQ(launches(3, 0), 0);
}

}  // namespace
}  // namespace elastron::ops
