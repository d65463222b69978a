// What static patterns need, on the CPU and on the GPU: hard-concrete gates and the strongest key.
#include "ops/attention_argmax.h"
#include "ops/hard_concrete.h"
#include "tests/ops/cuda/both_devices.h"

namespace elastron::ops {
namespace {

class CudaStaticGates : public test::BothDevices {};

TEST_F(CudaStaticGates, HardConcrete) {
  const std::vector<uint32_t> keys = {3, 77, 1u << 20, 5, 6};
  for (const DType t : {DType::f64, DType::f32}) {
    const Tensor log_alpha = test::random_tensor({200}, t, cpu_, 8), there = on_gpu(log_alpha);
    for (const HardConcrete& rule :
         {HardConcrete{}, HardConcrete{.beta = 0.4, .gamma = -0.3, .zeta = 1.05}}) {
      const GateSampling sampling{.seed = 12345678901234ull,
                                  .step = 9,
                                  .sample_keys = keys,
                                  .layer = 3,
                                  .first_kv_head = 2};
      const auto z = hard_concrete_sample(log_alpha, rule, sampling);
      const auto gz = hard_concrete_sample(there, rule, sampling);
      expect_same(z.gate, gz.gate, "gate", 0);
      expect_same(z.probability, gz.probability, "value", 1e-5);
      const auto decided = hard_concrete_decide(log_alpha, rule, 4);
      const auto g_decided = hard_concrete_decide(there, rule, 4);
      expect_same(decided.gate, g_decided.gate, "decided", 0);
      expect_same(decided.probability, g_decided.probability, "decided value");
      const Tensor d = test::random_tensor({5, 200}, t, cpu_, 9);
      Tensor sum = test::random_tensor({200}, t, cpu_, 10), g_sum = on_gpu(sum);
      hard_concrete_backward(d, z.probability, rule, sum);
      hard_concrete_backward(on_gpu(d), on_gpu(z.probability), rule, g_sum);
      expect_same(sum, g_sum, "d log_alpha");
    }
  }
}

TEST_F(CudaStaticGates, AttentionArgmax) {
  std::vector<QueryRow> rows;
  for (const int32_t query : {0, 1, 7, 8, 9, 63, 64, 99}) rows.push_back({query, 0});
  for (const int32_t query : {50, 57, 99}) rows.push_back({query, 50});
  for (const DType t : {DType::f64, DType::f32, DType::bf16}) {
    for (const auto& [q_heads, kv_heads, dim] :
         {std::tuple<int64_t, int64_t, int64_t>{8, 2, 64}, {3, 3, 7}, {4, 1, 128}}) {
      const Tensor q = test::random_tensor({100, q_heads, dim}, t, cpu_, 1);
      const Tensor k = test::random_tensor({100, kv_heads, dim}, t, cpu_, 2);
      expect_same(attention_argmax(q, k, rows), attention_argmax(on_gpu(q), on_gpu(k), rows),
                  "strongest key", 0);
    }
  }
  // Equal keys in the parts of different warps.
  const Tensor ones = Tensor::from(std::vector<float>(40, 1.0f), {40, 1, 1}, cpu_);
  const std::vector<QueryRow> ends = {{39, 0}, {39, 13}};
  expect_same(attention_argmax(ones, ones, ends),
              attention_argmax(on_gpu(ones), on_gpu(ones), ends), "ties", 0);
}

}  // namespace
}  // namespace elastron::ops
