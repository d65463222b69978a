// The emulated instructions of ops/cuda/hopper.h against plain loops. Where elements stand in a
// tile is written here as its definition words it, on purpose not as the emulator has it.
#include "ops/cuda/hopper.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "ops/cuda/tensor_map.h"
#include "tests/support/cuda_emulator/memory.h"

namespace elastron::ops::cuda {
namespace {

// Byte offset of a number in tiles of `rows` rows that stand one after another, 64 columns each.
size_t in_tile(size_t row, size_t column, size_t rows) {
  const size_t chunk = column % 64 / 8;
  return column / 64 * rows * 128 + row * 128 + (chunk ^ row % 8) * 16 + column % 8 * 2;
}

std::vector<bf16> numbers(std::mt19937& random, size_t n) {
  std::normal_distribution<float> normal;
  std::vector<bf16> values;
  for (size_t i = 0; i < n; ++i) values.push_back(bf16(normal(random)));
  return values;
}

// PTX ISA, "wgmma accumulator fragment D": element i of a thread of the group.
size_t d_row(size_t thread, size_t i) { return thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8; }
size_t d_column(size_t thread, size_t i) { return i / 4 * 8 + thread % 4 * 2 + i % 2; }

void fill(unsigned char* tile, const std::vector<bf16>& from, size_t rows, size_t columns,
          bool turned) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) {
      const size_t at = turned ? in_tile(c, r, columns) : in_tile(r, c, rows);
      std::memcpy(tile + at, &from[r * columns + c], 2);
    }
  }
}

// d [64, kN] = c + a [64, K] b [kN, K]^T, by two groups at once, of which the second has twice a.
template <int kN, Major kA, Major kB>
void check_product(size_t sum, bool registers) {
  std::mt19937 random(uint32_t(kN + int(sum)));
  const auto a = numbers(random, 64 * sum), b = numbers(random, kN * sum);
  const auto before = numbers(random, 64 * kN);
  const uint32_t a_bytes = uint32_t(64 * sum * 2), b_bytes = uint32_t(kN * sum * 2);
  std::vector<float> after(2 * 64 * kN, -1);
  emulator::run_kernel(dim3(1), dim3(2 * kWarpgroup), 2 * a_bytes + b_bytes, [&] {
    auto* memory = dynamic_shared_memory<unsigned char>();
    const size_t group = threadIdx.x / kWarpgroup, thread = threadIdx.x % kWarpgroup;
    if (threadIdx.x == 0) {
      auto twice = a;
      for (bf16& x : twice) x = bf16(2 * float(x));
      fill(memory, a, 64, sum, kA == Major::mn);
      fill(memory + a_bytes, twice, 64, sum, kA == Major::mn);
      fill(memory + 2 * a_bytes, b, kN, sum, kB == Major::mn);
    }
    fence_for_async();
    __syncthreads();
    const uint32_t a_at = shared_address(memory) + uint32_t(group) * a_bytes;
    const uint32_t b_at = shared_address(memory) + 2 * a_bytes;
    float d[kN / 8][4];
    for (size_t i = 0; i < kN / 2; ++i) {
      d[i / 4][i % 4] = before[d_row(thread, i) * kN + d_column(thread, i)];
    }
    uint32_t fragments[8][4];
    for (size_t step = 0; step < sum / 16; ++step) {
      for (size_t i = 0; i < 4; ++i) {
        const auto element = [&](size_t next) {
          const size_t row = thread / 32 * 16 + thread % 32 / 4 + i % 2 * 8;
          const size_t k = step * 16 + i / 2 * 8 + thread % 4 * 2 + next;
          return bf16(float(group + 1) * float(a[row * sum + k]));
        };
        fragments[step][i] = uint32_t(element(0).bits) | uint32_t(element(1).bits) << 16;
      }
    }
    // Of a turned operand of 64 rows in memory per 64 columns; as long as the sum otherwise.
    const uint32_t a_columns = uint32_t(kA == Major::mn ? sum : 64) * kRowBytes;
    const uint32_t b_columns = uint32_t(kB == Major::mn ? sum : kN) * kRowBytes;
    products_begin(d, fragments);
    for (size_t step = 0; step < sum / 16; ++step) {
      const uint64_t b_step = operand<kB>(b_at, int(step), b_columns);
      if (registers) {
        product<kN, kB>(d, fragments[step], b_step, true);
      } else {
        product<kN, kA, kB>(d, operand<kA>(a_at, int(step), a_columns), b_step, true);
      }
    }
    products_commit();
    EXPECT_TRUE(std::isnan(d[0][0]) && std::isnan(d[kN / 8 - 1][3]));
    products_wait<0>(d);
    for (size_t i = 0; i < kN / 2; ++i) {
      after[(group * 64 + d_row(thread, i)) * kN + d_column(thread, i)] = d[i / 4][i % 4];
    }
  });
  for (size_t group = 0; group < 2; ++group) {
    for (size_t r = 0; r < 64; ++r) {
      for (size_t c = 0; c < kN; ++c) {
        double expected = before[r * kN + c];
        for (size_t k = 0; k < sum; ++k) {
          expected +=
              double(group + 1) * double(float(a[r * sum + k])) * double(float(b[c * sum + k]));
        }
        ASSERT_NEAR(after[(group * 64 + r) * kN + c], expected, 1e-3) << r << ' ' << c;
      }
    }
  }
}

TEST(Hopper, ProductsOfTiles) {
  check_product<128, Major::k, Major::k>(128, false);
  check_product<64, Major::k, Major::k>(64, false);
  check_product<128, Major::k, Major::mn>(64, false);
  check_product<64, Major::k, Major::mn>(128, false);
  check_product<64, Major::mn, Major::k>(64, false);
  check_product<128, Major::mn, Major::mn>(128, false);
}

TEST(Hopper, ProductsOfFragments) {
  check_product<128, Major::k, Major::k>(128, true);
  check_product<64, Major::k, Major::mn>(128, true);
  check_product<128, Major::k, Major::mn>(64, true);
}

// Groups of products end in order, those that are not waited for are still under way, and sums are
// overwritten where they are not added to.
TEST(Hopper, ProductsInGroups) {
  emulator::run_kernel(dim3(1), dim3(kWarpgroup), 16384, [&] {
    auto* memory = dynamic_shared_memory<unsigned char>();
    const std::vector<bf16> ones(64 * 64, bf16(1.0f));
    if (threadIdx.x == 0) fill(memory, ones, 64, 64, false);
    __syncthreads();
    const uint64_t tile = operand<Major::k>(shared_address(memory), 0, 8192);
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
      const uint64_t tile = operand<Major::k>(shared_address(memory), 0, 8192);
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

// Boxes in the middle, over the edge, and past it, against the tensor.
TEST(Hopper, CopiesOfBoxes) {
  constexpr int64_t kTokens = 37, kHeads = 6, kDim = 128, kStride = 1024;
  std::mt19937 random(3);
  const auto x = numbers(random, size_t(kTokens * kStride));
  constexpr int32_t kBoxTokens = 8, kBoxHeads = 2, kRows = kBoxTokens * kBoxHeads;
  alignas(16) static bf16 memory[kTokens * kStride];
  std::copy(x.begin(), x.end(), memory);
  const CUtensorMap map = tile_map({memory, kStride}, kTokens, kHeads, kDim, kBoxTokens, kBoxHeads);
  for (const int32_t token : {0, 13, 30, 36, 37, 100}) {
    for (const int32_t head : {0, 3, 5}) {
      emulator::run_kernel(dim3(1), dim3(64), 2 * kRows * kRowBytes + 16, [&] {
        auto* tile = dynamic_shared_memory<unsigned char>();
        auto& barrier = *reinterpret_cast<Barrier*>(tile + 2 * kRows * kRowBytes);
        if (threadIdx.x == 0) {
          barrier_init(barrier, 1);
          barrier_init_fence();
        }
        __syncthreads();
        if (threadIdx.x == 0) {
          barrier_arrive_expect(barrier, 2 * kRows * kRowBytes);
          copy_box(tile, map, barrier, 0, head, token);
          copy_box(tile + kRows * kRowBytes, map, barrier, 64, head, token);
        }
        barrier_wait(barrier, 0);
        for (size_t row = threadIdx.x; row < kRows; row += 64) {
          const int64_t t = token + int64_t(row) / kBoxHeads, h = head + int64_t(row) % kBoxHeads;
          for (size_t c = 0; c < kDim; ++c) {
            bf16 value;
            std::memcpy(&value, tile + in_tile(row, c, kRows), 2);
            const bool inside = t < kTokens && h < kHeads;
            const bf16 expected = inside ? x[size_t(t * kStride + h * kDim) + c] : bf16(0.0f);
            ASSERT_EQ(value.bits, expected.bits) << t << ' ' << h << ' ' << c;
          }
        }
      });
    }
  }
}

TEST(Hopper, MapsThatTheDriverRefuses) {
  alignas(16) static const bf16 memory[64] = {};
  EXPECT_NO_THROW(tile_map({memory, 64}, 1, 1, 64, 1, 1));
  EXPECT_ANY_THROW(tile_map({memory + 1, 64}, 1, 1, 64, 1, 1));
  EXPECT_ANY_THROW(tile_map({memory, 63}, 1, 1, 64, 1, 1));
  EXPECT_ANY_THROW(tile_map({memory, 64}, 1, 1, 64, 257, 1));
}

// A ring of two buffers between one producer and two consumers: every number arrives once, in
// order, with nobody ahead by more than the ring.
TEST(Hopper, BarriersHandBuffersOver) {
  constexpr int kItems = 50;
  alignas(16) static bf16 memory[kItems * 64];
  for (int i = 0; i < kItems * 64; ++i) memory[i] = bf16(float(i / 64));
  const CUtensorMap map = tile_map({memory, 64}, kItems, 1, 64, 1, 1);
  int seen = 0;
  emulator::run_kernel(dim3(1), dim3(96), 4096, [&] {
    auto* memory_of_block = dynamic_shared_memory<unsigned char>();
    auto* full = reinterpret_cast<Barrier*>(memory_of_block + 2048);
    Barrier* empty = full + 2;
    if (threadIdx.x == 0) {
      for (int i = 0; i < 2; ++i) {
        barrier_init(full[i], 1);
        barrier_init(empty[i], 64);
      }
      barrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x / 32 == 2) {
      for (int i = 0; threadIdx.x % 32 == 0 && i < kItems; ++i) {
        barrier_wait(empty[i % 2], uint32_t(i / 2 + 1) & 1);
        barrier_arrive_expect(full[i % 2], kRowBytes);
        copy_box(memory_of_block + i % 2 * 1024, map, full[i % 2], 0, 0, i);
      }
      return;
    }
    for (int i = 0; i < kItems; ++i) {
      barrier_wait(full[i % 2], uint32_t(i / 2) & 1);
      bf16 value;
      std::memcpy(&value, memory_of_block + i % 2 * 1024, 2);
      EXPECT_EQ(float(value), float(i));
      ++seen;
      barrier_arrive(empty[i % 2]);
    }
  });
  EXPECT_EQ(seen, 64 * kItems);
}

TEST(HopperDeathTest, MistakesWithBarriers) {
  const auto run = [](int mistake) {
    emulator::run_kernel(dim3(1), dim3(64), 64, [&] {
      auto& barrier = *dynamic_shared_memory<Barrier>();
      if (mistake != 1 && threadIdx.x == 0) barrier_init(barrier, mistake == 2 ? 65 : 64);
      __syncthreads();
      barrier_arrive(barrier);
      barrier_wait(barrier, 0);
      if (mistake == 3 && threadIdx.x == 0) barrier_wait(barrier, 1);
    });
  };
  run(0);
  EXPECT_DEATH(run(1), "a barrier is not initialised");
  EXPECT_DEATH(run(2), "wait for each other");
  EXPECT_DEATH(run(3), "wait for each other");
}

// Two groups take turns: neither begins its next piece before the other has had its own.
TEST(Hopper, NamedBarriersTakeTurns) {
  std::vector<int> order;
  emulator::run_kernel(dim3(1), dim3(2 * kWarpgroup), 0, [&] {
    const int group = int(threadIdx.x) / kWarpgroup;
    if (group == 1) named_barrier_arrive(1, 2 * kWarpgroup);
    for (int i = 0; i < 10; ++i) {
      named_barrier_sync(1 + group, 2 * kWarpgroup);
      if (threadIdx.x % kWarpgroup == 7) order.push_back(group);
      named_barrier_sync(3 + group, kWarpgroup);
      named_barrier_arrive(2 - group, 2 * kWarpgroup);
    }
  });
  ASSERT_EQ(order.size(), 20u);
  for (size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], int(i % 2));
}

}  // namespace
}  // namespace elastron::ops::cuda
