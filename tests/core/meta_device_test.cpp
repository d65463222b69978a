// A meta device counts as the device it stands for does, and computes nothing.
#include "core/meta_device.h"

#include <gtest/gtest.h>

#include "core/cuda/block_size.h"
#include "core/tensor.h"

namespace elastron {
namespace {

const RangeRecord& range_named(const MetaDevice& device, const std::string& name) {
  for (const RangeRecord& range : device.ranges()) {
    if (range.name == name) return range;
  }
  throw LogicError("no range " + name);
}

TEST(MetaDevice, CountsAsTheDeviceItStandsFor) {
  CpuDevice cpu;
  MetaDevice meta(DeviceKind::cpu), gpu(DeviceKind::cuda);
  int64_t on_gpu = 0;
  {
    std::vector<Tensor> held;
    for (const int64_t n : {1, 100, 1000, 12345, 1 << 20}) {
      for (Device* device : {static_cast<Device*>(&cpu), static_cast<Device*>(&meta)}) {
        held.push_back(Tensor::empty({n}, DType::f32, *device));
      }
      const Tensor t = Tensor::empty({n}, DType::f32, gpu);
      on_gpu = int64_t(cuda::block_size(t.bytes()));
      EXPECT_EQ(gpu.memory().in_use_bytes, on_gpu);
    }
    EXPECT_EQ(meta.memory().in_use_bytes, cpu.memory().in_use_bytes);
  }
  EXPECT_EQ(meta.memory().in_use_bytes, 0);
  EXPECT_EQ(meta.memory().peak_bytes, cpu.memory().peak_bytes);
  EXPECT_EQ(gpu.memory().peak_bytes, on_gpu);
  meta.reset_peak();
  EXPECT_EQ(meta.memory().peak_bytes, 0);
}

TEST(MetaDevice, HasNoValues) {
  MetaDevice meta(DeviceKind::cuda);
  const Tensor t = Tensor::from(std::vector<float>{1, 2, 3}, {3}, meta);
  EXPECT_EQ(t.to_vector<float>(), (std::vector<float>{0, 0, 0}));
  // Between what processes have and what the kernel has.
  EXPECT_GE(reinterpret_cast<uintptr_t>(t.raw()), uintptr_t(1) << 47);
  EXPECT_LT(reinterpret_cast<uintptr_t>(t.raw()), ~uintptr_t(0) << 47);
  EXPECT_NE(t.raw(), Tensor::empty({3}, DType::f32, meta).raw());
  EXPECT_FALSE(meta.holds_values());
  EXPECT_EQ(meta.behaves_as(), DeviceKind::cuda);
}

TEST(MetaDevice, SortsByRanges) {
  MetaDevice meta(DeviceKind::cuda);
  Tensor kept;
  for (int i = 0; i < 3; ++i) {
    const TraceRange layer("layer", i);
    meta.record({.name = "op", .flops = 10, .bytes = 5});
    const TraceRange inner("inner");
    meta.record({.name = "op", .flops = 1, .bytes = 2, .launches = 3});
    meta.record({.name = "op", .flops = 1, .bytes = 2, .launches = 3});
    kept = Tensor::zeros({64}, DType::f32, meta);
    EXPECT_EQ(kept.to_vector<float>().size(), 64u);
  }
  const RangeRecord &layer = range_named(meta, "layer"), &inner = range_named(meta, "inner");
  EXPECT_EQ(meta.ranges().size(), 3u);
  EXPECT_EQ(layer.calls, 3);
  ASSERT_EQ(layer.ops.size(), 1u);
  EXPECT_EQ(layer.ops[0].sum.flops, 30);
  EXPECT_EQ(inner.calls, 3);
  EXPECT_EQ(inner.ops[0].calls, 6);
  EXPECT_EQ(inner.ops[0].sum.launches, 18);
  EXPECT_EQ(inner.copies, 6);  // cleared, and read
  EXPECT_EQ(inner.host_waits, 3);
  EXPECT_EQ(inner.live_bytes, 256);
  EXPECT_EQ(inner.most_live_bytes, 512);  // the next is there before the last one goes
  meta.clear_records();
  EXPECT_EQ(inner.calls, 0);
  EXPECT_EQ(inner.live_bytes, 256);
  kept = {};
  EXPECT_EQ(inner.live_bytes, 0);
}

TEST(MetaDevice, LaunchesNothingAsACpu) {
  MetaDevice meta(DeviceKind::cpu);
  meta.record({.name = "op", .launches = 4});
  EXPECT_EQ(meta.ranges()[0].ops[0].sum.launches, 0);
  EXPECT_EQ(meta.ranges()[0].ops[0].calls, 1);
}

}  // namespace
}  // namespace elastron
