// Plans against steps on an emulated GPU: what these hold, and what they ask of the device.
#include <gtest/gtest.h>

#include "core/cuda/device.h"
#include "ops/routed_attention.h"
#include "tests/support/cuda_emulator/memory.h"
#include "tests/train/plan/planned_cases.h"
#include "train/plan/planned_step.h"
#include "train/workload/registry.h"

namespace elastron::train {
namespace {

void expect_as_planned(const test::PlannedCase& c, const model::ModelConfig& m) {
  parallel::CollectiveLog log;
  parallel::Mesh mesh = parallel::Mesh::recording(c.layout, {}, log);
  cuda::CudaDevice device(0);
  test::RealStep step(c.config, m, mesh, device);
  step.run();
  device.reset_peak();
  const emulator::Calls before = emulator::calls();
  step.run();
  const emulator::Calls after = emulator::calls();
  const int64_t peak = device.memory().peak_bytes;

  const auto library = ops::attention_workspace(
      device, c.config.model.compute_dtype(), m.q_heads, m.kv_heads, m.head_dim,
      micro_batch_tokens(c.config), c.config.trains(Part::router), c.config.model.full_attention);
  const PlannedStep plan = plan_step(c.config, m, c.layout, DeviceKind::cuda, {}, library);
  DeviceCalls planned;
  for (const RangeRecord& range : plan.ranges) {
    for (const OpRecord& op : range.ops) planned.launches += double(op.sum.launches);
    planned.copies += double(range.copies);
    planned.host_waits += double(range.host_waits);
    planned.allocations += double(range.allocations);
  }
  EXPECT_EQ(plan.memory.total(), peak) << c.name << ", " << plan.memory.phase;
  EXPECT_EQ(planned.launches, double(after.launches - before.launches)) << c.name;
  EXPECT_EQ(planned.copies, double(after.copies - before.copies)) << c.name;
  EXPECT_EQ(planned.host_waits, double(after.host_waits - before.host_waits)) << c.name;
  EXPECT_EQ(planned.allocations, double(after.allocations - before.allocations)) << c.name;
  EXPECT_GT(plan.layer.launches, 10) << c.name;
}

test::PlannedCase of(const char* name, model::Recompute recompute, DType dtype,
                     const auto& change) {
  auto c = test::planned_case(name, {1, 1, 1}, recompute, change);
  c.config.data.max_tokens = 128;
  c.config.model.dtype = dtype == DType::bf16 ? ComputeDType::bfloat16 : ComputeDType::float32;
  return c;
}

TEST(PlannedStepOfAGpu, HoldsLaunchesCopiesAndWaitsAsAStepDoes) {
  using model::Recompute;
  model::ModelConfig m = test::small_shapes();
  m.num_layers = 2;
  const auto nothing = [](Config&) {};
  for (const test::PlannedCase& c :
       {of("routers", Recompute::none, DType::f32, nothing),
        of("routers, selective", Recompute::selective, DType::bf16, nothing),
        of("routers, layer", Recompute::layer, DType::bf16, nothing),
        of("backbone", Recompute::none, DType::bf16,
           [](Config& c) { c.train.objective = kPretrain; }),
        of("pairs", Recompute::selective, DType::bf16, [](Config& c) {
          c.train.objective = kReward;
          c.train.trainable = {Part::reward_head, Part::lora, Part::router};
        })}) {
    expect_as_planned(c, m);
  }
}

// A head of 64 columns goes to the kernels of sm_90a where the GPU has them.
TEST(PlannedStepOfAGpu, TakesTheKernelsThatTheGpuHas) {
  model::ModelConfig m = test::small_shapes();
  m.num_layers = 2;
  m.q_heads = 4;
  m.kv_heads = 2;
  m.head_dim = 64;
  expect_as_planned(of("hopper", model::Recompute::none, DType::bf16, [](Config&) {}), m);
}

TEST(PlannedStepOfAGpu, LibraryForFullAttention) {
  model::ModelConfig m = test::small_shapes();
  m.num_layers = 2;  // nothing is needed of q, k and v in the first
  const auto c = of("library", model::Recompute::none, DType::bf16, [](Config& config) {
    config.model.full_attention = ops::FullAttentionBy::cudnn;
  });
  const auto library = ops::AttentionWorkspace{.forward = 4096, .backward = 1 << 20};
  const auto with = plan_step(c.config, m, c.layout, DeviceKind::cuda, {}, library);
  const auto without = plan_step(c.config, m, c.layout, DeviceKind::cuda, {});
  EXPECT_GT(with.layer.copies, without.layer.copies);
}

}  // namespace
}  // namespace elastron::train
