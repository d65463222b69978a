// What a training step may ask of a GPU, whatever the work is: the table of stated budgets. A step
// is planned on a meta device, whose counts are the emulated device's (planned_step_cuda_test), so
// that a budget that holds here holds there.
//
// Whoever goes above one has put something into every layer, or between a forward and a backward
// pass: mend that. Whoever gets below one tightens the table.
#include <gtest/gtest.h>

#include "tests/train/plan/planned_cases.h"
#include "train/plan/planned_step.h"

namespace elastron::train {
namespace {

constexpr int64_t kTokens = 65536;  // of a pack

// Of one layer, forward and backward together.
struct LayerBudget {
  const char* name;
  int64_t document_tokens;
  int context;
  bool library;  // full attention by cuDNN
  // Kernels and calls of libraries; copies, also within the device, and clearing; blocks of memory.
  int64_t launches, copies, allocations;
};
constexpr LayerBudget kLayers[] = {
    {"1 x 64K", 65536, 1, false, 60, 12, 90},
    {"8 x 8K", 8192, 1, false, 60, 12, 90},
    {"64 x 1K", 1024, 1, false, 60, 12, 90},
    {"1 x 64K, cuDNN", 65536, 1, true, 80, 60, 90},
    {"8 x 8K, cuDNN", 8192, 1, true, 80, 60, 90},
    {"64 x 1K, cuDNN", 1024, 1, true, 80, 60, 90},
    {"1 x 64K, 8 ranks", 65536, 8, false, 300, 400, 500},
    {"8 x 8K, 8 ranks", 8192, 8, false, 300, 4000, 500},
    {"64 x 1K, 8 ranks", 1024, 8, false, 300, 40000, 500},
};

// Beside its layers. The head takes its rows in chunks.
struct MicroBatchBudget {
  int64_t chunks;
  int64_t launches, launches_of_a_chunk, copies, copies_of_a_chunk, allocations,
      allocations_of_a_chunk;
  int64_t host_waits;  // of all of it, layers included
};
constexpr int64_t kWaitsOfAnUpdate = 1;  // the gradients' norm

Config config_of(const LayerBudget& budget) {
  Config config;
  config.model.dtype = ComputeDType::bfloat16;
  config.data.max_tokens = kTokens;
  config.train.recompute = model::Recompute::none;
  return config;
}

PlannedStep planned(const LayerBudget& budget, const Config& config) {
  std::optional<ops::AttentionWorkspace> library;
  if (budget.library) library = {.forward = 1 << 20, .backward = 1 << 20};
  return plan_step(config, test::qwen3_8b(), {1, budget.context, 1}, DeviceKind::cuda,
                   {.document_tokens = budget.document_tokens}, library);
}

TEST(Budgets, OfALayer) {
  for (const LayerBudget& budget : kLayers) {
    const DeviceCalls calls = planned(budget, config_of(budget)).layer;
    std::printf("%s: %.2f %.2f %.2f waits %.2f\n", budget.name, calls.launches, calls.copies,
                calls.allocations, calls.host_waits);
    EXPECT_LE(calls.launches, double(budget.launches)) << budget.name;
    EXPECT_LE(calls.copies, double(budget.copies)) << budget.name;
    EXPECT_LE(calls.allocations, double(budget.allocations)) << budget.name;
    EXPECT_EQ(calls.host_waits, 0) << budget.name;
  }
}

}  // namespace
}  // namespace elastron::train
