// What decisions by layer need, on the CPU and on the GPU.
#include "ops/head_groups.h"

#include "tests/ops/cuda/both_devices.h"

namespace elastron::ops {
namespace {

class CudaHeadGroups : public test::BothDevices {};

TEST_F(CudaHeadGroups, AsOnTheCpu) {
  for (const DType t : {DType::f64, DType::f32}) {
    for (const auto& [documents, heads, groups, width] :
         {std::tuple<int64_t, int64_t, int64_t, int64_t>{1, 1, 1, 1},
          {3, 32, 1, 128},
          {5, 8, 4, 33},
          {7, 6, 6, 2},
          {300, 8, 1, 1},
          {0, 4, 2, 8}}) {
      const Tensor x = test::random_tensor({documents, heads, width}, t, cpu_, 1);
      const Tensor d = test::random_tensor({documents, groups, width}, t, cpu_, 2);
      expect_same(sum_heads(x, groups, 0.125), sum_heads(on_gpu(x), groups, 0.125), "sum");
      expect_same(spread_over_heads(d, heads, 0.125), spread_over_heads(on_gpu(d), heads, 0.125),
                  "spread", 0);
    }
  }
  std::vector<uint8_t> gates;
  for (int i = 0; i < 333; ++i) gates.push_back(i % 3 == 0 ? 1 : 0);
  const Tensor gate = Tensor::from(gates, {333, 1}, cpu_);
  expect_same(spread_gate(gate, 8), spread_gate(on_gpu(gate), 8), "gate", 0);
}

}  // namespace
}  // namespace elastron::ops
