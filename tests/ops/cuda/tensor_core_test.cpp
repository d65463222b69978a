// The emulated instructions of ops/cuda/tensor_core.h against plain loops. Layouts are written here
// as the PTX ISA words them, element by element, on purpose not as the emulator has them.
#include "ops/cuda/tensor_core.h"

#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <random>
#include <vector>

#include "ops/cuda/attention/mma_tiles.h"

namespace elastron::ops::cuda {
namespace {

int lane() { return int(threadIdx.x) % 32; }

// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type": element i of a lane.
int a_row(int l, int i) { return i < 2 || (4 <= i && i < 6) ? l / 4 : l / 4 + 8; }
int a_column(int l, int i) { return i < 4 ? l % 4 * 2 + (i & 1) : l % 4 * 2 + (i & 1) + 8; }
int b_row(int l, int i) { return i < 2 ? l % 4 * 2 + (i & 1) : l % 4 * 2 + (i & 1) + 8; }
int b_column(int l, int) { return l / 4; }
int d_row(int l, int i) { return i < 2 ? l / 4 : l / 4 + 8; }
int d_column(int l, int i) { return l % 4 * 2 + (i & 1); }

uint32_t pair(bf16 low, bf16 high) { return uint32_t(low.bits) | uint32_t(high.bits) << 16; }

std::vector<bf16> numbers(std::mt19937& random, int n) {
  std::normal_distribution<float> normal;
  std::vector<bf16> values;
  for (int i = 0; i < n; ++i) values.push_back(bf16(normal(random)));
  return values;
}

TEST(TensorCore, ProductOfFragments) {
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    const auto a = numbers(random, 16 * 16), b = numbers(random, 16 * 8);
    const auto before = numbers(random, 16 * 8);
    std::vector<float> after(16 * 8, -1);
    // Two warps: the second one's lanes are not to mix with the first one's.
    emulator::run_kernel(dim3(1), dim3(64), 0, [&] {
      if (threadIdx.x < 32 && round % 2 == 0) return;
      const int l = lane();
      uint32_t fa[4], fb[2];
      for (int i = 0; i < 8; i += 2) {
        fa[i / 2] = pair(a[size_t(a_row(l, i) * 16 + a_column(l, i))],
                         a[size_t(a_row(l, i + 1) * 16 + a_column(l, i + 1))]);
      }
      for (int i = 0; i < 4; i += 2) {
        fb[i / 2] = pair(b[size_t(b_row(l, i) * 8 + b_column(l, i))],
                         b[size_t(b_row(l, i + 1) * 8 + b_column(l, i + 1))]);
      }
      float d[4];
      for (int i = 0; i < 4; ++i) d[i] = before[size_t(d_row(l, i) * 8 + d_column(l, i))];
      mma_bf16_16816(d, fa, fb);
      for (int i = 0; i < 4; ++i) after[size_t(d_row(l, i) * 8 + d_column(l, i))] = d[i];
    });
    for (int r = 0; r < 16; ++r) {
      for (int c = 0; c < 8; ++c) {
        double sum = before[size_t(r * 8 + c)];
        for (int k = 0; k < 16; ++k) {
          sum += double(float(a[size_t(r * 16 + k)])) * double(float(b[size_t(k * 8 + c)]));
        }
        EXPECT_NEAR(after[size_t(r * 8 + c)], sum, 1e-5) << r << ' ' << c;
      }
    }
  }
}

TEST(TensorCore, LoadsOfMatrices) {
  constexpr int kMatrices = 4;
  std::mt19937 random(2);
  std::vector<uint16_t> rows(kMatrices * 8);  // where each row lies, in any order
  std::iota(rows.begin(), rows.end(), uint16_t(0));
  std::shuffle(rows.begin(), rows.end(), random);
  emulator::run_kernel(dim3(1), dim3(32), kMatrices * 8 * 16, [&] {
    auto* memory = dynamic_shared_memory<uint16_t>();
    const int l = lane();
    // Element (r, c) of matrix m reads 100 m + 10 r + c.
    for (int c = 0; c < 8; ++c) {
      memory[rows[size_t(l)] * 8 + c] = uint16_t(100 * (l / 8) + 10 * (l % 8) + c);
    }
    __syncthreads();
    uint32_t d[4], transposed[4];
    ldmatrix_x4(d, memory + rows[size_t(l)] * 8);
    ldmatrix_x4_trans(transposed, memory + rows[size_t(l)] * 8);
    for (int m = 0; m < kMatrices; ++m) {
      const int r = l / 4, c = l % 4 * 2;
      EXPECT_EQ(int(d[m] & 0xffff), 100 * m + 10 * r + c);
      EXPECT_EQ(int(d[m] >> 16), 100 * m + 10 * r + c + 1);
      EXPECT_EQ(int(transposed[m] & 0xffff), 100 * m + 10 * c + r);
      EXPECT_EQ(int(transposed[m] >> 16), 100 * m + 10 * (c + 1) + r);
    }
  });
}

TEST(TensorCore, CopiesArriveWhenTheyAreWaitedFor) {
  alignas(16) static const uint32_t from[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  emulator::run_kernel(dim3(1), dim3(1), 64, [&] {
    auto* to = dynamic_shared_memory<uint32_t>();
    for (int i = 0; i < 16; ++i) to[i] = 99;
    cp_async_16(to, from, true);
    cp_async_commit();
    cp_async_16(to + 4, nullptr, false);
    cp_async_4(to + 8, from + 7, true);
    cp_async_commit();
    EXPECT_EQ(to[0], 99u);
    cp_async_wait<1>();
    EXPECT_EQ(to[0], 1u);
    EXPECT_EQ(to[3], 4u);
    EXPECT_EQ(to[4], 99u);
    cp_async_wait<0>();
    EXPECT_EQ(to[4], 0u);
    EXPECT_EQ(to[7], 0u);
    EXPECT_EQ(to[8], 8u);
    EXPECT_EQ(to[9], 99u);
  });
}

// s = x y^T, then z = s x: fragments loaded from tiles, and one product's result as the next one's
// operand.
TEST(TensorCore, ProductsOfTiles) {
  constexpr int kC = 5, kWidth = kC * 16;
  std::mt19937 random(3);
  const auto x = numbers(random, kRows * kWidth), y = numbers(random, kRows * kWidth);
  std::vector<float> s(kRows * kRows), z(kRows * kWidth);
  emulator::run_kernel(dim3(1), dim3(kMmaThreads), 2 * sizeof(bf16) * kTileElements<kC>, [&] {
    auto* x_tile = dynamic_shared_memory<bf16>();
    bf16* y_tile = x_tile + kTileElements<kC>;
    for (int i = int(threadIdx.x); i < kRows * kWidth; i += kMmaThreads) {
      x_tile[i / kWidth * kPaddedRow<kC> + i % kWidth] = x[size_t(i)];
      y_tile[i / kWidth * kPaddedRow<kC> + i % kWidth] = y[size_t(i)];
    }
    __syncthreads();
    const int warp_row = int(threadIdx.x) / kWarp * kWarpRows, l = lane();
    float s_part[8][4], z_part[2 * kC][4];
    multiply_by_rows<kC>(RowsInTile<kC>{x_tile, warp_row}, y_tile, 0, s_part);
    for (int n = 0; n < 8; ++n) {
      for (int i = 0; i < 4; ++i) {
        s[size_t((warp_row + d_row(l, i)) * kRows + n * 8 + d_column(l, i))] = s_part[n][i];
      }
    }
    uint32_t p[4][4];
    to_fragments(s_part, p);
    set_zero(z_part);
    add_product<kC>(p, x_tile, 0, z_part);
    for (int n = 0; n < 2 * kC; ++n) {
      for (int i = 0; i < 4; ++i) {
        z[size_t((warp_row + d_row(l, i)) * kWidth + n * 8 + d_column(l, i))] = z_part[n][i];
      }
    }
  });
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kRows; ++c) {
      double sum = 0;
      for (int i = 0; i < kWidth; ++i) {
        sum += double(float(x[size_t(r * kWidth + i)])) * double(float(y[size_t(c * kWidth + i)]));
      }
      ASSERT_NEAR(s[size_t(r * kRows + c)], sum, 1e-4);
    }
    for (int c = 0; c < kWidth; ++c) {
      double sum = 0;
      for (int i = 0; i < kRows; ++i) {
        sum += double(float(bf16(s[size_t(r * kRows + i)]))) *
               double(float(x[size_t(i * kWidth + c)]));
      }
      ASSERT_NEAR(z[size_t(r * kWidth + c)], sum, 1e-3);
    }
  }
}

// Every query sees its keys once, first those that the rule shows it, and none behind the tile.
TEST(TensorCore, WhatRowsSeeOfTheirTiles) {
  std::mt19937 random(4);
  for (int round = 0; round < 300; ++round) {
    Geometry g{};
    g.rule = {1 + int64_t(random() % 80), int64_t(random() % 3), 1 + int64_t(random() % 4)};
    g.rule.dense_tail = round % 3 == 0 ? int64_t(random() % 100) : 0;
    g.group = g.tile_heads = 1 + int32_t(random() % 8);
    const int32_t tokens = int32_t(tile_tokens(g.group));
    QueryTile t{};
    t.place.length = t.place.whole = 1 + int32_t(random() % 400);
    t.begin = int32_t(random() % uint32_t(t.place.length)) / tokens * tokens;
    t.end = std::min(t.begin + tokens, t.place.length);
    const StreamingRule rule = g.rule.within(t.place.length);
    const bool both = round % 2 == 0;
    const int rows = rows_of(g, t);
    std::vector<int> seen(size_t(rows * t.place.length));
    KeyTiles<kMmaKeys> tiles(pattern_of(g, t), t.begin, t.end, both, true);
    for (KeyTile tile = tiles.next(); tile.part != Part::end; tile = tiles.next()) {
      for (int row = 0; row < rows; ++row) {
        const Sight sight(g, t, row);
        for (int32_t key = tile.begin; key < tile.begin + kMmaKeys; ++key) {
          if (is_masked(tile, kMmaKeys) && !sight.sees(tile.mask, key)) continue;
          ASSERT_LT(key, tile.end);
          ASSERT_EQ(rule.visible(sight.query, key), tile.part == Part::common);
          ++seen[size_t(row * t.place.length + key)];
        }
      }
    }
    for (int row = 0; row < rows; ++row) {
      const int32_t query = t.begin + row / g.group;
      for (int32_t key = 0; key < t.place.length; ++key) {
        const bool visible = both ? key <= query : rule.visible(query, key);
        ASSERT_EQ(seen[size_t(row * t.place.length + key)], int(visible)) << round;
      }
    }
  }
}

// From a key's side: the same pairs.
TEST(TensorCore, WhichRowsSeeAKey) {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    Geometry g{};
    g.rule = {1 + int64_t(random() % 80), int64_t(random() % 3), 1 + int64_t(random() % 4)};
    g.rule.dense_tail = round % 3 == 0 ? int64_t(random() % 100) : 0;
    Place place{};
    place.length = place.whole = 1 + int32_t(random() % 400);
    const StreamingRule rule = g.rule.within(place.length);
    const auto dense_from = int32_t(QuerySpan::least(rule.dense_from, place.length));
    for (const KeySetKind set : {KeySetKind::full, KeySetKind::streaming, KeySetKind::blocks}) {
      for (int32_t key = 0; key < place.length; ++key) {
        const KeySight sight(g, place, set, key);
        for (int32_t query = 0; query < place.length; ++query) {
          ASSERT_EQ(sight.seen(query, dense_from), pair_visible(rule, set, query, key))
              << round << ": " << query << ", " << key;
        }
      }
    }
  }
}

}  // namespace
}  // namespace elastron::ops::cuda
