// Rows by index on the GPU, bit for bit those of the CPU.
#include "ops/rows.h"

#include "tests/ops/cuda/both_devices.h"

namespace elastron::ops {
namespace {

class CudaRows : public test::BothDevices {
 protected:
  Tensor rnd(const Shape& shape, uint64_t seed, DType dtype) {
    return test::random_tensor(shape, dtype, cpu_, seed);
  }
  Tensor ints(const std::vector<int32_t>& values) {
    return Tensor::from(values, {int64_t(values.size())}, cpu_);
  }
};

// Rows of all widths: bytes, words and packs of 16 bytes, less and more of them than a warp has
// lanes.
TEST_F(CudaRows, OfOneTensor) {
  const Tensor index = ints({8, 0, -1, 3, 5});
  for (const DType t : {DType::f64, DType::f32, DType::bf16}) {
    for (const int64_t m : {1, 3, 8, 40, 64, 1000}) {
      const std::string what = std::string(dtype_name(t)) + " " + std::to_string(m);
      const Tensor x = rnd({9, m}, 7, t);
      const Tensor y = gather_rows(x, index), gy = gather_rows(on_gpu(x), on_gpu(index));
      expect_same(y, gy, "gather " + what, 0);
      Tensor z = rnd({12, m}, 8, t), gz = on_gpu(z);
      scatter_rows(y, index, z);
      scatter_rows(gy, on_gpu(index), gz);
      expect_same(z, gz, "scatter " + what, 0);
      add_rows(y, index, z);
      add_rows(gy, on_gpu(index), gz);
      expect_same(z, gz, "add " + what, 0);
    }
  }
}

// A part of the heads of several tensors, and their sums back: rows that lie apart, at addresses
// that packs may and may not be read from.
TEST_F(CudaRows, OfSeveralTensorsAnyStrideApart) {
  const std::vector<int32_t> rows = {0, 1, 2, 6, 6, 1, 2, 3, 0, 6};
  const RowSums sums{ints({0, 2, 4, 6, 7, 7, 7, 10}), ints({0, 8, 1, 5, 2, 6, 7, 3, 4, 9})};
  for (const DType t : {DType::f64, DType::f32, DType::bf16}) {
    for (const int64_t d : {1, 5, 16, 128}) {
      const std::string what = std::string(dtype_name(t)) + " " + std::to_string(d);
      const auto both = [&](const Tensor& a, const Tensor& b, const Tensor& index,
                            const RowSums& back) {
        const Tensor y = Tensor::zeros({10, 2, d}, t, a.device());
        gather_rows({a.slice(1, 1, 2), b.slice(1, 2, 3)}, index,
                    {y.slice(1, 0, 1), y.slice(1, 1, 2)});
        const Tensor z = Tensor::zeros({7, 4, d}, t, a.device());
        sum_rows({y.slice(1, 0, 1), y.slice(1, 1, 2)}, back, {z.slice(1, 3, 4), z.slice(1, 0, 1)});
        return std::pair(y, z);
      };
      const Tensor a = rnd({7, 3, d}, 1, t), b = rnd({7, 3, d}, 2, t);
      const auto [y, z] = both(a, b, ints(rows), sums);
      const auto [gy, gz] =
          both(on_gpu(a), on_gpu(b), on_gpu(ints(rows)), {on_gpu(sums.bounds), on_gpu(sums.rows)});
      expect_same(y, gy, "gather " + what, 0);
      expect_same(z, gz, "sum " + what, 0);
    }
  }
  // Gates are bytes.
  const Tensor gate = Tensor::from(std::vector<uint8_t>{1, 0, 0, 1, 1, 1, 0, 1}, {2, 4}, cpu_);
  const auto of_parts = [&](const Tensor& from, const Tensor& index) {
    Tensor out = Tensor::zeros({6, 2}, DType::u8, from.device());
    gather_rows({from.slice(1, 0, 2), from.slice(1, 2, 4)}, index,
                {out.slice(0, 0, 3), out.slice(0, 3, 6)});
    return out;
  };
  const Tensor index = ints({1, 0, 1});
  expect_same(of_parts(gate, index), of_parts(on_gpu(gate), on_gpu(index)), "gates", 0);
}

// Nothing to write, and more rows than a grid has blocks at once.
TEST_F(CudaRows, NoneAndMany) {
  const Tensor none = gather_rows(on_gpu(rnd({3, 4}, 1, DType::f32)), on_gpu(ints({})));
  EXPECT_EQ(none.size(0), 0);
  constexpr int64_t kMany = 600'000;
  std::vector<int32_t> rows(kMany);
  for (int64_t i = 0; i < kMany; ++i) rows[size_t(i)] = int32_t(i * 7 % 11);
  const Tensor x = rnd({11, 24}, 2, DType::f32), index = ints(rows);
  expect_same(gather_rows(x, index), gather_rows(on_gpu(x), on_gpu(index)), "many", 0);
}

}  // namespace
}  // namespace elastron::ops
