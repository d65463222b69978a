// What the emulated instructions of ops/cuda/hopper.h find wrong, and when products are done. That
// they compute what they should is of hopper_primitives_test.cpp, for GPUs too.
#include "ops/cuda/hopper.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "ops/cuda/tensor_map.h"
#include "tests/support/cuda_emulator/memory.h"

namespace elastron::ops::cuda {
namespace {

// Groups of products end in order, those that are not waited for are still under way, and sums are
// overwritten where they are not added to.
TEST(Hopper, ProductsInGroups) {
  emulator::run_kernel(dim3(1), dim3(kWarpgroup), 16384, [&] {
    auto* memory = dynamic_shared_memory<unsigned char>();
    if (threadIdx.x == 0) std::fill_n(reinterpret_cast<bf16*>(memory), 64 * 64, bf16(1.0f));
    __syncthreads();
    const uint64_t tile = Operand<Major::k>(shared_address(memory), 8192).step(0);
    float x[8][4], y[8][4];
    std::fill_n(&x[0][0], 32, 5.0f);
    std::fill_n(&y[0][0], 32, 5.0f);
    products_begin(x, y);
    product<64, Major::k, Major::k>(x, tile, tile, false);
    products_commit();
    product<64, Major::k, Major::k>(y, tile, tile, true);
    products_commit();
    product<64, Major::k, Major::k>(y, tile, tile, true);
    products_commit();
    products_wait<2>(x);
    EXPECT_EQ(x[3][1], 16);
    EXPECT_TRUE(std::isnan(y[3][1]));
    products_wait<1>();
    EXPECT_TRUE(std::isnan(y[3][1]));
    products_wait<0>(y);
    EXPECT_EQ(y[3][1], 37);
  });
}

TEST(HopperDeathTest, MistakesWithProducts) {
  const auto run = [](int mistake) {
    emulator::run_kernel(dim3(1), dim3(kWarpgroup), 16384, [&] {
      auto* memory = dynamic_shared_memory<unsigned char>();
      std::memset(memory, 0, 16384);
      __syncthreads();
      const uint64_t tile = Operand<Major::k>(shared_address(memory), 8192).step(0);
      float x[8][4] = {};
      uint32_t a[4] = {};
      products_begin(x);
      product<64, Major::k>(x, a, tile, true);
      products_commit();
      if (mistake == 1 && threadIdx.x == 0) memory[128] = 63;
      if (mistake == 2) a[1] = 7;
      if (mistake == 3) return;
      if (mistake == 4 && threadIdx.x < 32) {
        product<64, Major::k, Major::k>(x, tile, tile, true);
        products_commit();
      }
      products_wait<0>(x);
    });
  };
  run(0);
  EXPECT_DEATH(run(1), "an operand of a product changed");
  EXPECT_DEATH(run(2), "a register of a product's operand changed");
  EXPECT_DEATH(run(3), "products that nobody waited for");
  EXPECT_DEATH(run(4), "warps of a group issued different products");
}

TEST(Hopper, MapsThatTheDriverRefuses) {
  alignas(16) static const bf16 memory[64] = {};
  EXPECT_NO_THROW(tile_map({memory, 64}, 1, 1, 64, 1, 1));
  EXPECT_ANY_THROW(tile_map({memory + 1, 64}, 1, 1, 64, 1, 1));
  EXPECT_ANY_THROW(tile_map({memory, 63}, 1, 1, 64, 1, 1));
  EXPECT_ANY_THROW(tile_map({memory, 64}, 1, 1, 64, 257, 1));
}

TEST(HopperDeathTest, MistakesWithBarriers) {
  const auto run = [](int mistake) {
    emulator::run_kernel(dim3(1), dim3(64), 64, [&] {
      auto& barrier = *dynamic_shared_memory<Barrier>();
      if (mistake != 1 && threadIdx.x == 0) barrier_init(barrier, mistake == 2 ? 65 : 64);
      __syncthreads();
      barrier_arrive(barrier);
      barrier_wait(barrier, 0, "test: all that arrive");
      if (mistake == 3 && threadIdx.x == 0) barrier_wait(barrier, 1, "test: one phase more");
    });
  };
  run(0);
  EXPECT_DEATH(run(1), "a barrier is not initialised");
  // A missing arrival: who waits in vain, and for what.
  EXPECT_DEATH(run(2), "wait for each other.*; 64 at 'test: all that arrive'");
  EXPECT_DEATH(run(3), "wait for each other.*; 1 at 'test: one phase more'");
}

}  // namespace
}  // namespace elastron::ops::cuda
