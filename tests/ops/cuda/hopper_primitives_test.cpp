// The instructions of ops/cuda/hopper.h one by one against plain loops, on a GPU of compute
// capability 9.x and on the emulated one.
#include "tests/ops/cuda/hopper_primitives.h"

#include <random>

#include "ops/cuda/tensor_map.h"
#include "tests/ops/cuda/both_devices.h"

namespace elastron::testing {
namespace {

class HopperPrimitives : public test::BothDevices {
 protected:
  void SetUp() override {
    BothDevices::SetUp();
    need_hopper_kernels();
  }

  std::vector<float> normal(size_t n) {
    std::normal_distribution<float> normal;
    std::vector<float> values(n);
    for (float& x : values) x = float(bf16(normal(random_)));
    return values;
  }
  Tensor there(const std::vector<float>& values, DType dtype) {
    const Shape shape{int64_t(values.size())};
    return on_gpu(ops::cast(Tensor::from(values, shape, cpu_), dtype));
  }
  // The number `i` of a tensor of bfloat16 on the GPU.
  static std::vector<float> read(const Tensor& t) {
    return ops::cast(t, DType::f32).to_vector<float>();
  }

  std::mt19937 random_{3};
};

TEST_F(HopperPrimitives, Products) {
  for (const ProductCase& c : product_cases()) {
    SCOPED_TRACE("columns " + std::to_string(c.columns) + " sum " + std::to_string(c.sum) +
                 (c.a_turned ? " a turned" : "") + (c.b_turned ? " b turned" : "") +
                 (c.a_registers ? " a in registers" : ""));
    const auto sum = size_t(c.sum), columns = size_t(c.columns);
    const auto a = normal(64 * sum), b = normal(columns * sum), before = normal(64 * columns);
    const Tensor a_there = there(a, DType::bf16), b_there = there(b, DType::bf16);
    const Tensor before_there = there(before, DType::f32);
    const Tensor d = Tensor::zeros({int64_t(2 * 64 * columns)}, DType::f32, *gpu_);
    run_product(c, a_there.data<bf16>(), b_there.data<bf16>(), before_there.data<float>(),
                d.data<float>(), gpu_->stream());
    const auto after = d.to_vector<float>();
    for (size_t group = 0; group < 2; ++group) {
      for (size_t r = 0; r < 64; ++r) {
        for (size_t n = 0; n < columns; ++n) {
          double expected = before[r * columns + n];
          for (size_t k = 0; k < sum; ++k) {
            expected += double(group + 1) * double(a[r * sum + k]) * double(b[n * sum + k]);
          }
          ASSERT_NEAR(after[(group * 64 + r) * columns + n], expected, 1e-3) << r << ' ' << n;
        }
      }
    }
  }
}

// Boxes in the middle, over the edge, and past it, against the tensor; a box that leaves the last
// rows of a tile as they were.
TEST_F(HopperPrimitives, CopiesOfBoxes) {
  constexpr int64_t kTokens = 37, kHeads = 7, kDim = 128, kStride = 1024;
  constexpr float kFiller = 77;
  const auto x = normal(size_t(kTokens * kStride));
  const Tensor x_there = there(x, DType::bf16);
  struct Box {
    int32_t tokens, heads, tile_rows;
  };
  for (const Box& box : {Box{8, 2, 16}, Box{18, 7, 128}, Box{64, 1, 64}}) {
    const int32_t rows = box.tokens * box.heads;
    const CUtensorMap map =
        ops::cuda::tile_map({x_there.raw(), kStride}, kTokens, kHeads, kDim, box.tokens, box.heads);
    const Tensor tiles = Tensor::zeros({box.tile_rows * 128}, DType::bf16, *gpu_);
    for (const int32_t token : {0, 13, 30, 36, 37, 100}) {
      for (const int32_t head : {0, 3, 6}) {
        SCOPED_TRACE(std::to_string(token) + " " + std::to_string(head));
        run_copy(map, head, token, rows, box.tile_rows, bf16(kFiller), tiles.data<bf16>(),
                 gpu_->stream());
        const auto got = read(tiles);
        for (int32_t row = 0; row < box.tile_rows; ++row) {
          const int64_t t = token + row / box.heads, h = head + row % box.heads;
          for (int64_t c = 0; c < kDim; ++c) {
            const bool inside = t < kTokens && h < kHeads;
            const float expected = row >= rows ? kFiller
                                   : inside    ? x[size_t(t * kStride + h * kDim + c)]
                                               : 0.0f;
            ASSERT_EQ(got[in_tile(size_t(row), size_t(c), size_t(box.tile_rows)) / 2], expected)
                << "row " << row << " column " << c;
          }
        }
      }
    }
  }
}

// Every row arrives once, in order, at every consumer.
TEST_F(HopperPrimitives, BarriersHandBuffersOver) {
  constexpr int64_t kItems = 300;
  const auto x = normal(kItems * 64);
  const Tensor x_there = there(x, DType::bf16);
  const CUtensorMap map = ops::cuda::tile_map({x_there.raw(), 64}, kItems, 1, 64, 1, 1);
  const Tensor seen = Tensor::zeros({kItems * 64}, DType::bf16, *gpu_);
  run_ring(map, kItems, seen.data<bf16>(), gpu_->stream());
  const auto got = read(seen);
  for (size_t row = 0; row < kItems; ++row) {
    for (size_t c = 0; c < 64; ++c) {
      // Chunk c / 8 of row 0 of a tile stands where it is.
      ASSERT_EQ(got[row * 64 + c], x[row * 64 + c]) << row << ' ' << c;
    }
  }
}

// Neither begins its next turn before the other has had its own.
TEST_F(HopperPrimitives, NamedBarriersTakeTurns) {
  constexpr int32_t kTurns = 50;
  const Tensor order = Tensor::zeros({2 * kTurns}, DType::i32, *gpu_);
  run_turns(kTurns, order.data<int32_t>(), gpu_->stream());
  const auto got = order.to_vector<int32_t>();
  for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], int32_t(i % 2)) << i;
}

// Numbers survive in registers that another warpgroup gave up.
TEST_F(HopperPrimitives, RegistersAreHandedOver) {
  std::vector<int32_t> numbers(size_t(kKeepers * kKeptNumbers));
  for (int32_t& x : numbers) x = int32_t(random_());
  const Tensor there = on_gpu(Tensor::from(numbers, {int64_t(numbers.size())}, cpu_));
  run_registers(reinterpret_cast<uint32_t*>(there.data<int32_t>()), gpu_->stream());
  const auto got = there.to_vector<int32_t>();
  for (int keeper = 0; keeper < kKeepers; ++keeper) {
    uint32_t x[kKeptNumbers];
    for (int i = 0; i < kKeptNumbers; ++i)
      x[i] = uint32_t(numbers[size_t(keeper * kKeptNumbers + i)]);
    mix_numbers(x);
    for (int i = 0; i < kKeptNumbers; ++i) {
      ASSERT_EQ(uint32_t(got[size_t(keeper * kKeptNumbers + i)]), x[i]) << keeper << ' ' << i;
    }
  }
}

}  // namespace
}  // namespace elastron::testing
