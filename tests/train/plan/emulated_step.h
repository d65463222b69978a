// A step on an emulated GPU against its plan: what it holds, and what it asks of the device.
#pragma once
#include <gtest/gtest.h>

#include "core/cuda/device.h"
#include "ops/attention_means.h"
#include "tests/support/cuda_emulator/memory.h"
#include "tests/train/plan/planned_cases.h"
#include "train/plan/full_attention_line.h"
#include "train/plan/planned_step.h"

namespace elastron::train::test {

// On each rank of `mesh`, which has the case's layout; compared on the first, which plans are of.
inline void expect_as_planned(const PlannedCase& c, const model::ModelConfig& m,
                              parallel::Mesh& mesh, cuda::CudaDevice& device) {
  SCOPED_TRACE(c.name);
  RealStep step(c.config, m, mesh, device);
  step.run();
  device.reset_peak();
  const emulator::Calls before = emulator::calls();
  EXPECT_FALSE(step.run().skipped);
  const emulator::Calls after = emulator::calls();
  const int64_t peak = device.memory().peak_bytes;
  if (mesh.world().rank() != 0) return;

  const PlannedStep plan =
      plan_step(c.config, m, c.layout, DeviceKind::cuda, {},
                ops::attention_means(device, full_attention_question(c.config, m, c.layout)));
  DeviceCalls planned;
  for (const RangeRecord& range : plan.ranges) {
    for (const OpRecord& op : range.ops) planned.launches += double(op.sum.launches);
    planned.copies += double(range.copies);
    planned.host_waits += double(range.host_waits);
    planned.allocations += double(range.allocations);
  }
  EXPECT_EQ(plan.memory.total(), peak) << plan.memory.phase;
  EXPECT_EQ(planned.launches, double(after.launches - before.launches));
  EXPECT_EQ(planned.copies, double(after.copies - before.copies));
  EXPECT_EQ(planned.host_waits, double(after.host_waits - before.host_waits));
  EXPECT_EQ(planned.allocations, double(after.allocations - before.allocations));
  EXPECT_GT(plan.layer.launches, 10);
}

// Small: kernels run on the CPU.
inline PlannedCase emulated_case(const char* name, const parallel::MeshLayout& layout,
                                 model::Recompute recompute, DType dtype, const auto& change) {
  auto c = planned_case(name, layout, recompute, [&](Config& config) {
    config.data.max_tokens = 128;
    config.model.dtype = dtype == DType::bf16 ? ComputeDType::bfloat16 : ComputeDType::float32;
    change(config);
  });
  return c;
}

}  // namespace elastron::train::test
