// The emulated device ends a program whose streams touch memory in an order that no event sees to.
// Each fault is planted beside the same work in order.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/cuda/event.h"
#include "core/tensor.h"
#include "ops/elementwise.h"
#include "tests/support/cuda_emulator/memory.h"

namespace elastron::cuda {
namespace {

class StreamOrder : public ::testing::Test {
 protected:
  // A kernel that adds 1 to some floats, so that it reads and writes them.
  static void add_one(Stream stream, const char* name, const Tensor& t) {
    emulator::issue(stream, name, [p = t.data<float>(), n = t.numel()] {
      for (int64_t i = 0; i < n; ++i) p[i] += 1;
    });
  }
  static void look_at(Stream stream, const char* name, const Tensor& t) {
    emulator::issue(stream, name, [p = t.data<float>(), n = t.numel()] {
      volatile float sum = 0;
      for (int64_t i = 0; i < n; ++i) sum = sum + p[i];
    });
  }
  // As of a library that says what it touches.
  static void look_at_bytes(Stream stream, const char* name, const Tensor& t) {
    emulator::issue(stream, name, {{t.raw(), t.bytes()}}, [] {});
  }
  Tensor zeros(int64_t n = 1000) { return Tensor::zeros({n}, DType::f32, gpu_); }
  // The side stream goes on behind what the device's own has been given.
  void side_follows() {
    event_.record(gpu_.stream());
    event_.hold_back(side_.get());
  }
  void side_is_waited_for() {
    event_.record(side_.get());
    event_.hold_back(gpu_.stream());
  }

  CudaDevice gpu_{0};
  SideStream side_{gpu_};
  Event event_;
};
using StreamOrderDeathTest = StreamOrder;

TEST_F(StreamOrder, WorkInOrderGoesThrough) {
  Tensor t = zeros();
  for (int i = 0; i < 3; ++i) {
    add_one(gpu_.stream(), "mine", t);
    side_follows();
    add_one(side_.get(), "aside", t);
    side_is_waited_for();
  }
  EXPECT_EQ(t.to_vector<float>()[999], 6);
}

// Both may read at once, and what is read by one may be written by none.
TEST_F(StreamOrder, ReadersDoNotWaitForEachOther) {
  const Tensor t = zeros();
  side_follows();
  look_at(gpu_.stream(), "mine", t);
  look_at(side_.get(), "aside", t);
  look_at_bytes(side_.get(), "aside", t);
  side_is_waited_for();
  add_one(gpu_.stream(), "mine", t);
}

TEST_F(StreamOrder, WhatTheHostHasWaitedForIsInOrder) {
  const Tensor t = zeros();
  gpu_.synchronize();
  add_one(side_.get(), "aside", t);
  side_is_waited_for();
  EXPECT_EQ(t.to_vector<float>()[0], 1);
}

// Parts of a block that copies and libraries touch are told apart to the byte.
TEST_F(StreamOrder, NeighboursAreNoConflict) {
  const Tensor t = zeros();
  side_follows();
  emulator::issue(side_.get(), "aside", {{t.raw(), 400, true}}, [] {});
  t.slice(0, 100, 200).zero();
  side_is_waited_for();
}

TEST_F(StreamOrderDeathTest, AReadBeforeTheWrite) {
  const Tensor t = zeros();
  side_follows();
  add_one(gpu_.stream(), "writer", t);
  EXPECT_DEATH(look_at(side_.get(), "reader", t),
               "reader on stream [0-9]+ reads what writer on stream [0-9]+ wrote, and no event");
  EXPECT_DEATH(look_at_bytes(side_.get(), "library", t), "library on stream .* reads what writer");
}

TEST_F(StreamOrderDeathTest, AResultThatIsNotWaitedFor) {
  const Tensor t = zeros();
  side_follows();
  add_one(side_.get(), "sum", t);
  event_.record(side_.get());  // and nobody is held back by it
  EXPECT_DEATH(look_at(gpu_.stream(), "reader", t), "reader on stream .* reads what sum on stream");
  side_is_waited_for();
}

TEST_F(StreamOrderDeathTest, AWriteBeforeTheLastRead) {
  const Tensor t = zeros();
  side_follows();
  look_at_bytes(side_.get(), "sum", t);
  EXPECT_DEATH(add_one(gpu_.stream(), "writer", t),
               "writer on stream .* writes what sum on stream [0-9]+ read, and no event");
  side_is_waited_for();
}

// A kernel's name is that of its function.
TEST_F(StreamOrderDeathTest, AKernelOfAnOp) {
  Tensor t = zeros();
  side_follows();
  look_at_bytes(side_.get(), "sum", t);
  EXPECT_DEATH(ops::scale_into(t, 2),
               "map_kernel<.*Scale.* on stream .* writes what sum on stream");
  side_is_waited_for();
}

TEST_F(StreamOrderDeathTest, MemoryGivenBackTooEarly) {
  Tensor t = zeros();
  side_follows();
  look_at(side_.get(), "sum", t);
  EXPECT_DEATH(t = {}, "giving it back on stream .* writes what sum on stream");
  side_is_waited_for();
  t = {};
}

TEST_F(StreamOrderDeathTest, MemoryUsedBeforeItIsThere) {
  side_follows();
  const Tensor t = Tensor::empty({1000}, DType::f32, gpu_);
  EXPECT_DEATH(add_one(side_.get(), "aside", t), "aside on stream .* what an allocation on stream");
  side_follows();
  add_one(side_.get(), "aside", t);
  side_is_waited_for();
}

// An event that says it has passed orders nothing: it might not have.
TEST_F(StreamOrderDeathTest, AnAnswerIsNoWait) {
  const Tensor t = zeros();
  event_.record(gpu_.stream());
  ASSERT_TRUE(event_.passed());
  EXPECT_DEATH(add_one(side_.get(), "aside", t), "aside on stream .* what clearing on stream");
}

TEST_F(StreamOrderDeathTest, PinnedMemoryThatACopyStillNeeds) {
  void* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, 8192), cudaSuccess);
  const Tensor t = zeros();
  auto* numbers = static_cast<float*>(pinned);
  numbers[0] = 1;
  cudaMemcpyAsync(t.raw(), pinned, 400, cudaMemcpyHostToDevice, gpu_.stream());
  EXPECT_EQ(numbers[0], 1);  // reading is no harm
  EXPECT_DEATH(numbers[0] = 2, "the host writes what a copy on stream .* read, .*pinned memory");
  numbers[100] = 2;  // behind what is copied
  gpu_.synchronize();
  numbers[0] = 2;
  cudaMemcpyAsync(pinned, t.raw(), 400, cudaMemcpyDeviceToHost, gpu_.stream());
  EXPECT_DEATH(static_cast<void>(*static_cast<volatile float*>(pinned)),
               "the host reads what a copy on stream .* wrote");
  gpu_.synchronize();
  EXPECT_EQ(numbers[0], 1);
  cudaFreeHost(pinned);
}

TEST_F(StreamOrderDeathTest, TheHostInMemoryOfTheDevice) {
  const Tensor t = zeros();
  EXPECT_DEATH(t.data<float>()[0] = 1, "the host touches memory of the device");
}

TEST_F(StreamOrderDeathTest, ALibraryThatTouchesMoreThanItSays) {
  const Tensor t = zeros(), other = zeros();
  EXPECT_DEATH(emulator::issue(gpu_.stream(), "library", {{t.raw(), t.bytes()}},
                               [p = other.data<float>()] { p[0] = 1; }),
               "library touches memory of the device");
}

}  // namespace
}  // namespace elastron::cuda
