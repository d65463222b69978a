// Work that a device records and does again (core/recorded_work.h), on the emulated one.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/cuda/device.h"
#include "core/tensor.h"
#include "tests/support/cuda_emulator/memory.h"

namespace elastron::cuda {
namespace {

constexpr int64_t kNumbers = 500;

class RecordedWorkTest : public ::testing::Test {
 protected:
  // to = from + 1, by way of memory that is allocated meanwhile.
  void add_one(const Tensor& from, Tensor& to) {
    Tensor between = Tensor::empty({kNumbers}, DType::f32, gpu_);
    emulator::issue(gpu_.stream(), "add", [a = from.data<float>(), b = between.data<float>()] {
      for (int64_t i = 0; i < kNumbers; ++i) b[i] = a[i] + 1;
    });
    to.copy_from(between);
  }
  float first(const Tensor& t) { return t.to_vector<float>()[0]; }

  CudaDevice gpu_{0};
  Tensor from_ = Tensor::zeros({kNumbers}, DType::f32, gpu_), to_ = from_.clone();
};

TEST_F(RecordedWorkTest, IsDoneAtOnceAndAgainWithOneCall) {
  const auto work = gpu_.record([&] { add_one(from_, to_); });
  ASSERT_NE(work, nullptr);
  EXPECT_EQ(first(to_), 1);
  const emulator::Calls before = emulator::calls();
  for (int i = 0; i < 3; ++i) {
    from_.copy_from(to_);
    work->run();
  }
  const emulator::Calls after = emulator::calls();
  EXPECT_EQ(first(to_), 4);
  EXPECT_EQ(after.graphs - before.graphs, 3);
  EXPECT_EQ(after.launches, before.launches);
  EXPECT_EQ(after.copies - before.copies, 3);  // the test's own
}

TEST_F(RecordedWorkTest, IsIssuedAsUsualWhereTheUserWantsIt) {
  setenv("ELASTRON_CUDA_GRAPHS", "0", 1);
  int calls = 0;
  const auto work = gpu_.record([&] {
    ++calls;
    add_one(from_, to_);
  });
  unsetenv("ELASTRON_CUDA_GRAPHS");
  EXPECT_EQ(work, nullptr);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(first(to_), 1);
}

TEST_F(RecordedWorkTest, ItsMemoryIsHeldAndCounted) {
  const int64_t before = gpu_.memory().in_use_bytes;
  auto work = gpu_.record([&] {
    add_one(from_, to_);
    add_one(to_, from_);  // takes the same memory again
  });
  EXPECT_EQ(gpu_.memory().in_use_bytes, before + 2048);
  // Nobody else gets it.
  const Tensor other = Tensor::zeros({kNumbers}, DType::f32, gpu_);
  work->run();
  EXPECT_EQ(first(other), 0);
  EXPECT_EQ(first(from_), 4);
  EXPECT_EQ(gpu_.memory().in_use_bytes, before + 2 * 2048);
  work.reset();
  EXPECT_EQ(gpu_.memory().in_use_bytes, before + 2048);
}

// What cannot be recorded is done once, and issued as usual from then on.
TEST_F(RecordedWorkTest, WhatTheHostTakesPartInIsNotRecorded) {
  const auto issue_with = [&](auto host_does) {
    return gpu_.record([&] {
      add_one(from_, to_);
      host_does();
    });
  };
  float number = 7;
  EXPECT_EQ(issue_with([&] { gpu_.copy_from_host(from_.raw(), &number, 4); }), nullptr);
  EXPECT_EQ(first(from_), 7);
  EXPECT_EQ(issue_with([&] { gpu_.copy_to_host(&number, to_.raw(), 4); }), nullptr);
  EXPECT_EQ(number, 8);
  EXPECT_EQ(issue_with([&] { gpu_.synchronize(); }), nullptr);
  // Nor what waits behind the device's back: a library that times its kernels, say.
  EXPECT_EQ(issue_with([&] { static_cast<void>(cudaStreamSynchronize(gpu_.stream())); }), nullptr);
  int times = 0;
  EXPECT_EQ(issue_with([&] {
              if (++times == 2) Tensor::empty({12345}, DType::f32, gpu_);
            }),
            nullptr);
  EXPECT_NE(issue_with([] {}), nullptr);  // the stream is as it was
}

TEST_F(RecordedWorkTest, MayNotKeepMemory) {
  Tensor kept;
  EXPECT_THROW(gpu_.record([&] { kept = from_.clone(); }), LogicError);
}

}  // namespace
}  // namespace elastron::cuda
