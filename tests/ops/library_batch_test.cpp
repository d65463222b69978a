// Sizes that a library's plans are made for: few for the packs of a run.
#include "ops/cuda/attention/library_batch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>
#include <tuple>
#include <vector>

namespace elastron::ops::cuda {
namespace {

TEST(LibraryBatch, DummiesFillABucket) {
  const std::vector<int32_t> cu = {0, 100, 100, 1124, 1200};
  const LibraryBatch batch = library_batch({.cu_seqlens = cu});
  EXPECT_EQ(batch, (LibraryBatch{.sequences = 4,
                                 .dummies = 1,
                                 .longest = 1024,
                                 .tokens = 2048 + 2,
                                 .longest_keys = 0,
                                 .keys = 0}));
  const std::vector<int32_t> cu_keys = {0, 100, 130, 4000, 4076};
  const LibraryBatch parts = library_batch({.cu_seqlens = cu, .cu_keys = cu_keys});
  EXPECT_EQ(parts.longest_keys, 4096);
  EXPECT_EQ(parts.keys, 5120 + 2);
  EXPECT_EQ(parts.longest, batch.longest);
  const std::vector<int32_t> one = {0, 65536};
  EXPECT_EQ(library_batch({.cu_seqlens = one}).tokens, 65536) << "nothing for dummies of one";
}

TEST(LibraryBatch, KeysOfPartsAreALittleMoreThanTokens) {
  EXPECT_EQ(library_keys(65536 / 16 * 17), 81920) << "eight ranks";
  EXPECT_EQ(library_keys(65536 / 4 * 5), 81920) << "two";
  EXPECT_EQ(library_keys(65536 / 4 * 5 + 1), 2 * 81920);
  for (int64_t keys = 1; keys < 5000; ++keys) ASSERT_GE(library_keys(keys), keys);
}

// Every batch of a bucket fits in its plan.
TEST(LibraryBatch, HasRoomForItsDummies) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<int32_t> cu = {0};
    for (int s = 0, n = 1 + int(random() % 70); s < n; ++s) {
      cu.push_back(cu.back() + 1 + int32_t(random() % 300));
    }
    const LibraryBatch batch = library_batch({.cu_seqlens = cu});
    ASSERT_GE(batch.tokens, cu.back() + batch.dummies);
    ASSERT_EQ(batch.sequences, int64_t(cu.size()) - 1 + batch.dummies);
  }
}

// Documents of natural lengths: log-normal around 1,500 tokens with a sigma of 1.4 and at most a
// pack's 65,536 (the mean is 3,900), one after the other into packs until the next does not fit.
std::vector<std::vector<int32_t>> natural_packs(int count) {
  std::mt19937 random(7);
  std::lognormal_distribution<double> tokens(std::log(1500.0), 1.4);
  constexpr int32_t kPack = 65536;
  std::vector<std::vector<int32_t>> packs = {{0}};
  while (int(packs.size()) <= count) {
    const auto length = int32_t(std::clamp(tokens(random), 16.0, double(kPack)));
    if (packs.back().back() + length > kPack) packs.push_back({0});
    packs.back().push_back(packs.back().back() + length);
  }
  packs.pop_back();
  return packs;
}

// A backward plan takes cuDNN seconds. Here 3,000 packs have 1,413 different sizes when only
// lengths and totals are rounded, to eighths of a power of two, and 52 as they are; forward, where
// totals do not count and all sizes share the kernels, 36.
TEST(LibraryBatch, NaturalPacksShareAFewPlans) {
  const auto eighths = [](int64_t size) {
    const auto step = int64_t(std::bit_floor(uint64_t(size - 1))) / 8;
    return (size + step - 1) / step * step;
  };
  std::set<std::tuple<int64_t, int64_t, int64_t>> counted, backward, soon, forward;
  int packs = 0;
  for (const auto& cu : natural_packs(3000)) {
    int64_t longest = 0;
    for (size_t s = 1; s < cu.size(); ++s) longest = std::max<int64_t>(longest, cu[s] - cu[s - 1]);
    counted.emplace(int64_t(cu.size()) - 1, eighths(longest), eighths(cu.back()));
    const LibraryBatch batch = library_batch({.cu_seqlens = cu});
    backward.emplace(batch.sequences, batch.longest, batch.tokens);
    forward.emplace(batch.sequences, batch.longest, 0);
    if (++packs == 100) soon = backward;
  }
  EXPECT_GT(counted.size(), 1000u);
  EXPECT_LE(backward.size(), 60u);
  EXPECT_LE(soon.size(), 20u) << "of the first 100";
  EXPECT_LE(forward.size(), 40u);
}

}  // namespace
}  // namespace elastron::ops::cuda
