// What a training step does between its products, on the CPU and on the GPU: the router's networks,
// the sparsity objective, what is read and summed.
#include <algorithm>
#include <limits>

#include "ops/gathered_read.h"
#include "ops/mlp_chain.h"
#include "ops/sparsity_objective.h"
#include "tests/ops/cuda/both_devices.h"

namespace elastron::ops {
namespace {

class CudaStepOps : public test::BothDevices {
 protected:
  struct Chain {
    std::vector<LinearWeight> weights;
    std::vector<ChainLayer> layers;
    std::vector<ChainGradient> gradients;
  };
  Chain chain(const std::vector<int64_t>& widths, const std::vector<bool>& silu, DType dtype,
              bool gpu) {
    Chain c;
    c.weights.reserve(silu.size());
    const auto place = [&](const Tensor& t) { return gpu ? on_gpu(t) : t; };
    for (size_t i = 0; i < silu.size(); ++i) {
      const Shape shape{widths[i + 1], widths[i]}, row{widths[i + 1]};
      const auto random = [&](const Shape& of, uint32_t seed) {
        return place(test::random_tensor(of, dtype, cpu_, seed + uint32_t(10 * i)));
      };
      c.weights.emplace_back(random(shape, 1), WeightForm::in_place);
      c.layers.push_back({&c.weights.back(), random(row, 2), silu[i]});
      c.gradients.push_back({random(shape, 3), random(row, 4)});
    }
    return c;
  }
};

// Widths that are packs and that are not, few rows and many.
TEST_F(CudaStepOps, ChainsOfSmallLayers) {
  const std::vector<bool> silu = {true, false, true, true, false};
  for (const auto& [dtype, compute] :
       {std::pair{DType::f64, DType::f64}, {DType::f32, DType::f32}, {DType::f32, DType::bf16}}) {
    for (const auto& widths : {std::vector<int64_t>{8, 32, 8, 24, 8, 2}, {7, 13, 6, 5, 9, 1}}) {
      for (const int64_t rows : {0, 1, 9, 261}) {
        // Several rows to a block: once for each width.
        if (rows > 9 && (dtype != DType::f32 || compute != DType::f32)) continue;
        const std::string what = std::to_string(rows) + " rows, " + std::to_string(widths[0]) +
                                 " wide, " + std::string(dtype_name(compute));
        const double most = compute == DType::bf16 ? 3e-2 : tolerance(dtype);
        Chain a = chain(widths, silu, dtype, false), b = chain(widths, silu, dtype, true);
        const Tensor x = test::random_tensor({rows, widths.front()}, dtype, cpu_, 5);
        const Tensor dy = test::random_tensor({rows, widths.back()}, dtype, cpu_, 6);
        ChainSaved saved, g_saved;
        const Tensor y = mlp_chain_forward(x, a.layers, compute, &saved);
        expect_same(y, mlp_chain_forward(on_gpu(x), b.layers, compute, &g_saved), what, most);
        expect_same(y, mlp_chain_forward(on_gpu(x), b.layers, compute, nullptr), what, most);
        for (size_t i = 0; i < silu.size(); ++i) {
          expect_same(saved.input[i], g_saved.input[i], "input, " + what, most);
          expect_same(saved.before[i], g_saved.before[i], "before, " + what, most);
        }
        for (const bool need_input : {true, false}) {
          expect_same(
              mlp_chain_backward(dy, a.layers, compute, saved, a.gradients, need_input),
              mlp_chain_backward(on_gpu(dy), b.layers, compute, g_saved, b.gradients, need_input),
              "dx, " + what, most);
          for (size_t i = 0; i < silu.size(); ++i) {
            expect_same(a.gradients[i].weight, b.gradients[i].weight, "dw, " + what, most);
            expect_same(a.gradients[i].bias, b.gradients[i].bias, "db, " + what, most);
          }
        }
      }
    }
  }
}

// A block takes one row or several of them: the gates must not depend on it.
TEST_F(CudaStepOps, RowsOfAChainHaveTheSameBitsInAnyCompany) {
  const Chain c = chain({8, 36, 8, 2}, {true, false, false}, DType::f32, true);
  const Tensor x = on_gpu(test::random_tensor({261, 8}, DType::f32, cpu_, 5));
  const auto together = mlp_chain_forward(x, c.layers, DType::f32, nullptr).to_vector<float>();
  for (const int64_t row : {0, 3, 258, 260}) {
    const auto alone = mlp_chain_forward(x.slice(0, row, row + 1), c.layers, DType::f32, nullptr)
                           .to_vector<float>();
    EXPECT_EQ(alone[0], together[size_t(2 * row)]) << row;
    EXPECT_EQ(alone[1], together[size_t(2 * row + 1)]) << row;
  }
}

TEST_F(CudaStepOps, SparsityObjective) {
  std::vector<Tensor> gates, g_gates;
  for (const uint8_t layer : {0, 1, 2}) {
    std::vector<uint8_t> z;
    for (uint8_t i = 0; i < 12; ++i) z.push_back((i + layer) % 3 == 0 ? 1 : 0);
    gates.push_back(Tensor::from(z, {4, 3}, cpu_));
    g_gates.push_back(on_gpu(gates.back()));
  }
  const Tensor closed = count_closed_gates(gates), g_closed = count_closed_gates(g_gates);
  EXPECT_EQ(closed.to_vector<double>(), (std::vector<double>{6, 6, 6, 6}));
  expect_same(closed, g_closed, "closed", 0);
  const std::vector<ObjectiveDocument> documents = {
      {0.4, 0.25, 1}, {0.9, 0.25, 1}, {2.0 / 3, 0.5, 0}, {0.5, 1, 2}};
  for (const DType t : {DType::f64, DType::f32}) {
    for (const bool absolute : {true, false}) {
      for (const bool multipliers : {true, false}) {
        const auto values = [&](uint32_t seed) { return test::random_tensor({3}, t, cpu_, seed); };
        ObjectiveMultipliers m{values(1), values(2), values(3), values(4)};
        ObjectiveMultipliers g{on_gpu(m.lambda1), on_gpu(m.lambda2), on_gpu(m.d_lambda1),
                               on_gpu(m.d_lambda2)};
        const SparsityObjectiveRule rule{multipliers, absolute, -0.3, 0.7};
        const auto a = sparsity_objective(closed, 9, documents, m, rule, 3);
        const auto b = sparsity_objective(g_closed, 9, documents, g, rule, 3);
        expect_same(a.value, b.value, "value", 1e-12);
        expect_same(a.reg, b.reg, "reg", 1e-12);
        expect_same(a.d_msr, b.d_msr, "d_msr", 1e-12);
        expect_same(a.d_gate, b.d_gate, "d_gate");
        expect_same(m.d_lambda1, g.d_lambda1, "d_lambda1");
        expect_same(m.d_lambda2, g.d_lambda2, "d_lambda2");
      }
    }
  }
}

// Parts of any length and place, in one read.
TEST_F(CudaStepOps, GatheredRead) {
  const Tensor bytes = Tensor::from(std::vector<uint8_t>{1, 2, 3, 4, 5, 6, 7, 8, 9}, {9}, *gpu_);
  const Tensor numbers = on_gpu(test::random_tensor({5000}, DType::f64, cpu_, 1));
  const Tensor floats = on_gpu(test::random_tensor({33}, DType::f32, cpu_, 2));
  const Tensor parts[] = {bytes.slice(0, 1, 9), numbers, bytes.slice(0, 0, 0),
                          floats.slice(0, 1, 33), bytes.slice(0, 3, 4)};
  GatheredRead read(parts);
  // What is read is what was there.
  Tensor later = numbers;
  scale_into(later, 2);
  const auto read_numbers = read.doubles(1), wanted = numbers.to_vector<double>();
  ASSERT_EQ(read_numbers.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_EQ(2 * read_numbers[i], wanted[i]);
  EXPECT_TRUE(
      std::ranges::equal(read.part<uint8_t>(0), std::vector<uint8_t>{2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(read.part<uint8_t>(2).size(), 0u);
  EXPECT_TRUE(std::ranges::equal(read.part<float>(3), floats.slice(0, 1, 33).to_vector<float>()));
  EXPECT_EQ(read.part<uint8_t>(4)[0], 4);
  EXPECT_THROW(read.part<float>(1), LogicError);
}

TEST_F(CudaStepOps, SumsOfManyTensors) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16}) {
    std::vector<Tensor> all, there;
    uint32_t seed = 0;
    for (const int64_t n : {1, 8192, 0, 8193, 20000, 3}) {
      all.push_back(test::random_tensor({n}, t, cpu_, ++seed));
      there.push_back(on_gpu(all.back()));
    }
    const double sum = sum_of_squares(all);
    double apart = 0;
    for (const Tensor& x : all) apart += sum_of_squares(x);
    EXPECT_EQ(sum, apart);
    EXPECT_NEAR(sum_of_squares(there), sum, 1e-12 * sum);
    EXPECT_EQ(sum_of_squares(there), sum_of_squares(there));
  }
  const Tensor x = test::random_tensor({5000}, DType::f64, cpu_, 9);
  expect_same(sum(x), sum(on_gpu(x)), "sum", 1e-12);
}

TEST_F(CudaStepOps, Clamp) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16}) {
    Tensor x = test::random_tensor({37}, t, cpu_, 1), there = on_gpu(x);
    clamp_into(x, -0.25, 0.5);
    clamp_into(there, -0.25, 0.5);
    expect_same(x, there, "clamped", 0);
    const auto values = numbers(x);
    EXPECT_EQ(*std::ranges::min_element(values), -0.25);
    EXPECT_EQ(*std::ranges::max_element(values), 0.5);
  }
}

}  // namespace
}  // namespace elastron::ops
