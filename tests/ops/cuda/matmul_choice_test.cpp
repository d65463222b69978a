// Which algorithm a product takes, and when one is looked for: against the stand-in for cuBLASLt.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "core/cuda/device.h"
#include "core/meta_device.h"
#include "ops/converted_weights.h"
#include "ops/cuda/matmul.h"
#include "ops/cuda/row_bucket.h"
#include "ops/linear.h"
#include "ops/self_check/kernel_checks.h"
#include "ops/timed_products.h"
#include "tests/ops/cuda/kernel_uses.h"
#include "tests/support/cuda_emulator/blas.h"

namespace elastron::ops {
namespace {

using cuda::row_bucket;
using emulator::blas;

constexpr int64_t kWidth = 1024;
constexpr uint64_t kFastest = emulator::kAlgorithms - 1;

// How many products a quantised weight takes that may not be converted as a whole, and that a plan
// counts the same: 32 of 140 outputs at a time forward, 64 of 200 inputs backward.
TEST(QuantisedProducts, InPartsAsPlanned) {
  elastron::cuda::CudaDevice gpu(0);
  MetaDevice meta(DeviceKind::cuda);
  struct Counts {
    int64_t forward = 0, backward = 0;
  };
  const auto counts = [](Device& device) {
    device.attached<ConvertedWeights>().most = 64 * 140;
    const WeightScale scale{.values = Tensor::empty({10, 7}, DType::f32, device),
                            .out_block = 16,
                            .in_block = 32,
                            .out_offset = 5,
                            .in_offset = 8};
    const LinearWeight w(Tensor::empty({140, 200}, DType::e4m3, device), scale);
    const Tensor x = Tensor::empty({5, 200}, DType::bf16, device);
    const Tensor dy = Tensor::empty({5, 140}, DType::bf16, device);
    Counts c;
    int64_t before = blas().products;
    linear_forward(x, w);
    c.forward = blas().products - before;
    before = blas().products;
    linear_dgrad(dy, w);
    c.backward = blas().products - before;
    return c;
  };
  const Counts of_gpu = counts(gpu);
  EXPECT_EQ(of_gpu.forward, 5);
  EXPECT_EQ(of_gpu.backward, 4);
  counts(meta);
  double launches = 0, flops = 0;
  for (const RangeRecord& range : meta.ranges()) {
    for (const OpRecord& op : range.ops) {
      launches += double(op.sum.launches);
      flops += op.sum.flops;
    }
  }
  EXPECT_EQ(launches, 2 * (5 + 4));  // each with a conversion
  EXPECT_EQ(flops, 2 * 2.0 * 5 * 140 * 200);
}

TEST(RowBuckets, HoldEverySizeInAFewSteps) {
  std::set<int64_t> buckets;
  for (int64_t rows = 1; rows <= (1 << 20); ++rows) {
    const int64_t bucket = row_bucket(rows);
    ASSERT_GE(bucket, rows);
    ASSERT_EQ(row_bucket(bucket), bucket);
    ASSERT_LE(bucket - rows, std::max<int64_t>(rows / 8, 255)) << rows;
    buckets.insert(bucket);
  }
  EXPECT_EQ(buckets.size(), 88u);
  EXPECT_EQ(row_bucket(1), 1);
  EXPECT_EQ(row_bucket(257), 512);
  EXPECT_EQ(row_bucket(4097), 4096 + 512);
  EXPECT_EQ(row_bucket(65536), 65536);
}

class MatmulChoice : public ::testing::Test {
 protected:
  void SetUp() override {
    blas() = {};
    blas().computes = false;
  }
  void TearDown() override { blas() = {}; }

  Tensor zeros(const Shape& shape, DType dtype) { return Tensor::zeros(shape, dtype, device_); }
  void forward(int64_t rows, DType dtype = DType::bf16, int64_t out = kWidth) {
    linear_forward(zeros({rows, kWidth}, dtype),
                   LinearWeight(zeros({out, kWidth}, dtype), WeightForm::in_place));
  }

  elastron::cuda::CudaDevice device_{0};
};

// What a run of natural packs does: each has another number of tokens.
TEST_F(MatmulChoice, OneSearchForABucket) {
  ASSERT_EQ(row_bucket(3900), row_bucket(4001));
  forward(3900);
  EXPECT_EQ(blas().candidates, 1);
  EXPECT_EQ(blas().last_algorithm, kFastest);
  const int64_t queries = blas().queries;
  for (const int64_t rows : {4001, 3841, 4096, 4001}) {
    const int64_t products = blas().products;
    forward(rows);
    EXPECT_EQ(blas().products, products + 1) << "timed again at " << rows;
    EXPECT_EQ(blas().last_algorithm, kFastest);
  }
  EXPECT_EQ(blas().queries, queries);
  // Known to take each of the four sizes, once asked.
  EXPECT_EQ(blas().checks, 4);
  forward(4097);
  EXPECT_EQ(blas().candidates, 2) << "another bucket";
}

// An algorithm of the bucket that does not take the size at hand.
TEST_F(MatmulChoice, WhatDoesNotFitGivesWayToTheFirst) {
  blas().takes = [](uint64_t algorithm, int64_t, int64_t columns) {
    return algorithm != kFastest || columns != 4001;
  };
  forward(3900);
  EXPECT_EQ(blas().last_algorithm, kFastest);
  forward(4001);
  EXPECT_EQ(blas().last_algorithm, 0u);
  forward(4000);
  EXPECT_EQ(blas().last_algorithm, kFastest);
  EXPECT_EQ(blas().candidates, 1);
}

// What is small is not worth it.
TEST_F(MatmulChoice, NeverTimed) {
  forward(4096, DType::f32);
  forward(4096, DType::bf16, 8);
  forward(1);
  EXPECT_EQ(blas().candidates, 0);
  EXPECT_EQ(blas().last_algorithm, 0u);
  EXPECT_EQ(blas().products, 3);
  // The bucket of a product that is timed is not theirs.
  forward(4096);
  EXPECT_EQ(blas().last_algorithm, kFastest);
  forward(4096, DType::f32);
  EXPECT_EQ(blas().last_algorithm, 0u);
}

struct Written {
  const void* to;
  double beta;
  int64_t columns;
};

// Nothing but the product itself may touch a sum; and a result that is written over anyway needs
// no memory beside it.
TEST_F(MatmulChoice, TimingLeavesSumsAlone) {
  std::vector<Written> seen;
  blas().seen = [&](const void* to, double beta, int64_t columns) {
    seen.push_back({to, beta, columns});
  };
  const int64_t rows = 4096, out = 20480;
  const Tensor dy = zeros({rows, out}, DType::bf16), x = zeros({rows, kWidth}, DType::bf16);
  Tensor dw = zeros({out, kWidth}, DType::f32);
  device_.reset_peak();
  const int64_t before = device_.memory().in_use_bytes;
  linear_wgrad(dy, x, dw);
  ASSERT_GT(seen.size(), 1u);
  for (size_t i = 0; i + 1 < seen.size(); ++i) {
    EXPECT_NE(seen[i].to, dw.raw());
    EXPECT_EQ(seen[i].beta, 0);
    EXPECT_EQ(seen[i].columns, kTimingScratch / (kWidth * 4)) << "of " << out;
  }
  EXPECT_EQ(seen.back().to, dw.raw());
  EXPECT_EQ(seen.back().beta, 1);
  EXPECT_EQ(seen.back().columns, out);
  EXPECT_LE(device_.memory().peak_bytes - before, kTimingScratch + cuda::kMatmulWorkspace);

  seen.clear();
  device_.reset_peak();
  forward(rows);
  for (const Written& w : seen) EXPECT_TRUE(w.to == seen.back().to && w.beta == 0);
  EXPECT_GT(seen.size(), 1u);
}

// Without memory for a try the library's first choice does it.
TEST_F(MatmulChoice, NoMemoryNoSearch) {
  const int64_t rows = 4096;
  const Tensor dy = zeros({rows, kWidth}, DType::bf16), x = zeros({rows, kWidth}, DType::bf16);
  Tensor dw = zeros({kWidth, kWidth}, DType::f32);
  size_t free = 0, total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  const Tensor rest = Tensor::empty({int64_t(free) - cuda::kMatmulWorkspace - (int64_t(2) << 20)},
                                    DType::u8, device_);
  linear_wgrad(dy, x, dw);
  EXPECT_EQ(blas().last_algorithm, 0u);
  EXPECT_EQ(blas().products, 1);
}

// The self-check of timed algorithms times some, although its products are small.
TEST_F(MatmulChoice, SelfCheckTries) {
  blas() = {};
  int found = 0;
  for (const KernelCheck& check : kernel_checks(test::training(DType::bf16, 64, 2, {}), device_)) {
    if (check.family != KernelFamily::tuned_products) continue;
    ++found;
    EXPECT_EQ(check.run(device_), "");
    EXPECT_GT(blas().candidates, 0);
    EXPECT_EQ(blas().last_algorithm, kFastest);
  }
  EXPECT_EQ(found, 1);
}

}  // namespace
}  // namespace elastron::ops
