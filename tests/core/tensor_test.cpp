#include "core/tensor.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "core/parameter.h"

namespace elastron {
namespace {

std::vector<float> counting(int64_t n) {
  std::vector<float> values(static_cast<size_t>(n));
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

TEST(Shape, Basics) {
  const Shape s{2, 3, 4};
  EXPECT_EQ(s.rank(), 3);
  EXPECT_EQ(s[0], 2);
  EXPECT_EQ(s[-1], 4);
  EXPECT_EQ(s.numel(), 24);
  EXPECT_EQ(s.str(), "[2, 3, 4]");
  EXPECT_EQ(Shape{}.numel(), 1);
  EXPECT_EQ(Shape{}.str(), "[]");
  EXPECT_EQ((Shape{2, 0}).numel(), 0);
  EXPECT_TRUE(s == (Shape{2, 3, 4}));
  EXPECT_FALSE(s == (Shape{2, 3}));
  EXPECT_THROW(s[3], LogicError);
  EXPECT_THROW(s[-4], LogicError);
  EXPECT_THROW((Shape{-1}), LogicError);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1, 1}), LogicError);
}

TEST(Tensor, HoldsValues) {
  CpuDevice device;
  const Tensor t = Tensor::from(counting(6), {2, 3}, device);
  EXPECT_TRUE(t.defined());
  EXPECT_TRUE(t.contiguous());
  EXPECT_EQ(t.bytes(), 24u);
  EXPECT_EQ(t.stride(0), 3);
  EXPECT_EQ(t.stride(-1), 1);
  EXPECT_EQ(t.to_vector<float>(), counting(6));
  EXPECT_EQ(Tensor::zeros({3}, DType::i32, device).to_vector<int32_t>(),
            (std::vector<int32_t>{0, 0, 0}));
  EXPECT_FALSE(Tensor().defined());
}

TEST(Tensor, WrongUseIsCaught) {
  CpuDevice device;
  const Tensor t = Tensor::from(counting(6), {2, 3}, device);
  EXPECT_THROW(t.data<double>(), LogicError);
  EXPECT_THROW(Tensor::from(counting(5), {2, 3}, device), LogicError);
  EXPECT_THROW(t.view({4}), LogicError);
  EXPECT_THROW(t.slice(0, 1, 3), LogicError);
  EXPECT_THROW(t.slice(0, -1, 1), LogicError);
  EXPECT_THROW(t.slice(1, 0, 2).view({4}), LogicError);
  EXPECT_THROW(t.slice(1, 0, 2).zero(), LogicError);
  Tensor other = Tensor::zeros({3, 2}, DType::f32, device);
  EXPECT_THROW(other.copy_from(t), LogicError);
  Tensor typed = Tensor::zeros({2, 3}, DType::f64, device);
  EXPECT_THROW(typed.copy_from(t), LogicError);
  EXPECT_THROW(Tensor().device(), LogicError);
}

TEST(Tensor, ViewsShareMemory) {
  CpuDevice device;
  Tensor t = Tensor::from(counting(24), {2, 3, 4}, device);
  const Tensor middle = t.slice(1, 1, 2);
  EXPECT_FALSE(middle.contiguous());
  EXPECT_EQ(middle.to_vector<float>(), (std::vector<float>{4, 5, 6, 7, 16, 17, 18, 19}));
  const Tensor corner = t.slice(0, 1, 2).slice(2, 3, 4);
  EXPECT_EQ(corner.to_vector<float>(), (std::vector<float>{15, 19, 23}));
  const Tensor flat = t.view({24});
  flat.data<float>()[15] = -1;
  EXPECT_EQ(corner.to_vector<float>(), (std::vector<float>{-1, 19, 23}));
  EXPECT_EQ(t.slice(0, 1, 1).numel(), 0);
  EXPECT_TRUE(t.slice(0, 1, 2).contiguous());
}

TEST(Tensor, StridedCopies) {
  CpuDevice device;
  const Tensor source = Tensor::from(counting(24), {2, 3, 4}, device);
  Tensor target = Tensor::zeros({4, 3, 8}, DType::f32, device);
  Tensor window = target.slice(0, 1, 3).slice(2, 2, 6);
  window.copy_from(source);
  EXPECT_EQ(window.to_vector<float>(), counting(24));
  // Nothing outside the window was touched.
  const std::vector<float> all = target.to_vector<float>();
  double sum = 0;
  for (const float x : all) sum += x;
  EXPECT_EQ(sum, 23.0 * 24 / 2);
  EXPECT_EQ(all[0], 0);
  EXPECT_EQ(all[24 + 1], 0);
  EXPECT_EQ(all[24 + 3], 1);

  Tensor copy = window.clone();
  EXPECT_TRUE(copy.contiguous());
  copy.zero();
  EXPECT_EQ(window.to_vector<float>(), counting(24));
}

TEST(Tensor, MemoryGoesBackWithTheLastView) {
  CpuDevice device;
  Tensor view;
  {
    const Tensor t = Tensor::zeros({1000}, DType::f32, device);
    view = t.slice(0, 10, 20);
  }
  EXPECT_GT(device.memory().in_use_bytes, 0);
  EXPECT_EQ(view.to_vector<float>(), std::vector<float>(10, 0.0f));
  view = Tensor();
  EXPECT_EQ(device.memory().in_use_bytes, 0);
}

TEST(Tensor, BorrowOwnsNothing) {
  CpuDevice device;
  std::vector<float> mine = counting(4);
  {
    Tensor t = Tensor::borrow(mine.data(), {4}, DType::f32, device);
    t.data<float>()[0] = 9;
  }
  EXPECT_EQ(mine[0], 9);
  EXPECT_EQ(device.memory().system_allocations, 0);
}

TEST(Parameter, LocalShape) {
  Parameter p;
  p.logical_shape = {8, 6};
  EXPECT_TRUE(local_shape(p) == (Shape{8, 6}));
  p.partition = {.dim = 1, .offset = 3, .size = 3};
  EXPECT_TRUE(local_shape(p) == (Shape{8, 3}));
}

}  // namespace
}  // namespace elastron
