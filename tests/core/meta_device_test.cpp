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

// A copy that is begun is waited for elsewhere.
TEST(MetaDevice, WaitsWhereTheHostWaits) {
  MetaDevice meta(DeviceKind::cuda);
  {
    const TraceRange range("begin");
    meta.begin_copy_to_host(100);
  }
  {
    const TraceRange range("look");
    meta.synchronize();
  }
  EXPECT_EQ(range_named(meta, "begin").copies, 1);
  EXPECT_EQ(range_named(meta, "begin").host_waits, 0);
  EXPECT_EQ(range_named(meta, "look").host_waits, 1);
}

// As core/cuda/graph.cpp: graph_test has the same of the emulated GPU.
TEST(MetaDevice, RecordsWorkThatIsOneLaunchFromThenOn) {
  MetaDevice meta(DeviceKind::cuda);
  Tensor t = Tensor::empty({500}, DType::f32, meta);
  const int64_t before = meta.memory().in_use_bytes;
  const auto issue = [&] {
    for (int i = 0; i < 2; ++i) {  // takes the same memory again
      const Tensor between = Tensor::empty({500}, DType::f32, meta);
      meta.record({.name = "op", .launches = 3});
      t.copy_from(between);
    }
  };
  auto work = meta.record(issue);
  ASSERT_NE(work, nullptr);
  EXPECT_EQ(meta.memory().in_use_bytes, before + 2048);
  const RangeRecord& all = meta.ranges()[0];
  EXPECT_EQ(all.ops[0].sum.launches, 12);  // done, and captured
  EXPECT_EQ(all.allocations, 2);
  meta.clear_records();
  work->run();
  work->run();
  ASSERT_EQ(all.ops.size(), 1u);
  EXPECT_EQ(all.ops[0].sum.launches, 2);
  EXPECT_EQ(all.copies, 0);
  EXPECT_EQ(all.allocations, 0);
  work.reset();
  EXPECT_EQ(meta.memory().in_use_bytes, before);
  MetaDevice cpu(DeviceKind::cpu);
  EXPECT_EQ(cpu.record([] {}), nullptr);
}

TEST(MetaDevice, RecordsNothingThatTheHostTakesPartIn) {
  MetaDevice meta(DeviceKind::cuda);
  Tensor kept, t = Tensor::empty({4}, DType::f32, meta);
  float number = 7;
  const auto record = [&](const std::function<void()>& issue) { return meta.record(issue); };
  EXPECT_THROW(record([&] { meta.copy_from_host(t.raw(), &number, 4); }), LogicError);
  EXPECT_THROW(record([&] { meta.copy_to_host(&number, t.raw(), 4); }), LogicError);
  EXPECT_THROW(record([&] { meta.synchronize(); }), LogicError);
  EXPECT_THROW(record([&] { kept = t.clone(); }), LogicError);
  kept = {};
  int times = 0;
  EXPECT_THROW(record([&] {
                 if (++times == 2) Tensor::empty({12345}, DType::f32, meta);
               }),
               LogicError);
  EXPECT_NE(record([] {}), nullptr);  // it is as it was
}

}  // namespace
}  // namespace elastron
