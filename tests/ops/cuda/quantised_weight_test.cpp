// Weights in e4m3 with scales on the GPU against the CPU: whole blocks and parts of them, aligned and
// not. What the GPU multiplies is the dequantised weight, bit for bit.
#include "ops/converted_weights.h"
#include "ops/dequantise.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/quantise.h"
#include "tests/ops/cuda/both_devices.h"

namespace elastron::ops {
namespace {

const DType kFloats[] = {DType::f64, DType::f32, DType::bf16};

struct Case {
  int64_t out, in, out_block, in_block, out_offset, in_offset;
};
// Pieces of 8 values lie in one block, and not; blocks as they are published.
constexpr Case kCases[] = {{40, 64, 16, 16, 0, 0}, {40, 64, 16, 16, 5, 8},
                           {37, 64, 16, 16, 5, 3}, {33, 45, 25, 21, 24, 7},
                           {1, 1, 128, 128, 7, 9}, {140, 200, 128, 128, 0, 64}};

class CudaQuantised : public test::BothDevices {
 protected:
  Tensor rnd(const Shape& shape, uint64_t seed, DType dtype) {
    return test::random_tensor(shape, dtype, cpu_, seed);
  }
  struct Weight {
    Tensor values;
    WeightScale scale;
  };
  Weight weight(const Case& c) {
    WeightScale scale{.values = {},
                      .out_block = c.out_block,
                      .in_block = c.in_block,
                      .out_offset = c.out_offset,
                      .in_offset = c.in_offset};
    scale.values = rnd(scale.shape_for(c.out, c.in), 2, DType::f32);
    return {quantise(rnd({c.out, c.in}, 1, DType::f32), {c.out, c.in}).values, scale};
  }
  Weight on_gpu_too(const Weight& w) {
    Weight there{on_gpu(w.values), w.scale};
    there.scale.values = on_gpu(w.scale.values);
    return there;
  }
};

TEST_F(CudaQuantised, TheSameNumbers) {
  for (const Case& c : kCases) {
    const Weight w = weight(c), g = on_gpu_too(w);
    for (const DType t : kFloats) {
      const std::string what = std::string(dtype_name(t)) + " " + w.values.shape().str();
      expect_same(dequantise(w.values, w.scale, t), dequantise(g.values, g.scale, t), what, 0);
    }
  }
}

TEST_F(CudaQuantised, Products) {
  for (const Case& c : kCases) {
    const Weight w = weight(c), g = on_gpu_too(w);
    const LinearWeight cpu(w.values, w.scale), gpu(g.values, g.scale);
    for (const DType t : kFloats) {
      const std::string what = std::string(dtype_name(t)) + " " + w.values.shape().str();
      const Tensor x = rnd({5, c.in}, 3, t), dy = rnd({5, c.out}, 4, t), bias = rnd({c.out}, 5, t);
      expect_same(linear_forward(x, cpu, bias), linear_forward(on_gpu(x), gpu, on_gpu(bias)),
                  "y " + what);
      Tensor sum = x.clone(), gpu_sum = on_gpu(x);
      expect_same(linear_dgrad(dy, cpu, sum), linear_dgrad(on_gpu(dy), gpu, gpu_sum), "dx " + what);
      // The same call with the weight dequantised before.
      const LinearWeight plain(dequantise(g.values, g.scale, t), WeightForm::in_place);
      expect_same(linear_forward(on_gpu(x), plain), linear_forward(on_gpu(x), gpu), what, 0);
    }
  }
  // Stored in another dtype without scales.
  const Tensor stored = rnd({24, 40}, 1, DType::bf16), x = rnd({5, 40}, 2, DType::f32);
  expect_same(linear_forward(x, LinearWeight(stored, WeightForm::in_place)),
              linear_forward(on_gpu(x), LinearWeight(on_gpu(stored), WeightForm::in_place)),
              "bf16");
}

// A weight of more numbers than exist at a time: parts of outputs forward, of inputs backward, each
// with all that is summed, so that the bits are those of the whole.
TEST_F(CudaQuantised, InParts) {
  const Weight w = weight({140, 200, 16, 32, 5, 8}), g = on_gpu_too(w);
  const LinearWeight gpu(g.values, g.scale);
  for (const DType t : kFloats) {
    const Tensor x = on_gpu(rnd({5, 200}, 3, t)), dy = on_gpu(rnd({5, 140}, 4, t));
    const auto compute = [&] {
      Tensor sum = x.clone();
      linear_dgrad(dy, gpu, sum);
      return std::vector{linear_forward(x, gpu), linear_dgrad(dy, gpu), sum};
    };
    const auto whole = compute();
    gpu_->attached<ConvertedWeights>().most = 64 * 140;
    const auto parts = compute();
    for (size_t i = 0; i < whole.size(); ++i) {
      expect_same(whole[i].on_host(), parts[i], std::string(dtype_name(t)), 0);
    }
    gpu_->attached<ConvertedWeights>() = {};
  }
}

TEST_F(CudaQuantised, RowsOfATable) {
  for (const Case& c : kCases) {
    const Weight w = weight(c), g = on_gpu_too(w);
    const Tensor ids = Tensor::from(std::vector<int32_t>{5, 2, 41, 38, 5, 3, 1000}, {7}, cpu_);
    for (const DType t : kFloats) {
      expect_same(embedding_forward(ids, w.values, 3, w.scale, t),
                  embedding_forward(on_gpu(ids), g.values, 3, g.scale, t), w.values.shape().str(),
                  0);
    }
  }
}

}  // namespace
}  // namespace elastron::ops
