// What a training step may ask of a GPU, whatever the work is: the table of stated budgets. A step
// is planned on a meta device, whose counts are the emulated device's (planned_step_cuda_test), so
// that a budget that holds here holds there.
//
// Whoever goes above one has put something into every layer, or between a forward and a backward
// pass: mend that. Whoever gets below one tightens the table.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/train/plan/planned_cases.h"
#include "train/plan/planned_step.h"

namespace elastron::train {
namespace {

constexpr int64_t kTokens = 65536;  // of a pack

// Of one layer, forward and backward together; as many as a step of 36 layers has on the average,
// rounded up.
struct LayerBudget {
  const char* name;
  int64_t document_tokens;
  int context;
  bool library;  // full attention by cuDNN
  // Kernels and calls of libraries; copies, also within the device, and clearing; blocks of memory.
  int64_t launches, copies, allocations;
};
constexpr LayerBudget kLayers[] = {
    {"1 x 64K", 65536, 1, false, 52, 10, 75},
    {"8 x 8K", 8192, 1, false, 52, 10, 75},
    {"64 x 1K", 1024, 1, false, 52, 10, 75},
    {"1 x 64K, cuDNN", 65536, 1, true, 63, 43, 84},
    {"8 x 8K, cuDNN", 8192, 1, true, 63, 43, 84},
    {"64 x 1K, cuDNN", 1024, 1, true, 63, 43, 84},
    // Attention takes its kv heads in four groups; the exchange of rows (exchange_counts_test); and
    // six sums of bfloat16 over NCCL, a kernel and a block each: of the groups' gradients of keys and
    // values, of pooled keys and of their gradients.
    {"1 x 64K, 8 ranks", 65536, 8, false, 123, 32, 203},
    {"8 x 8K, 8 ranks", 8192, 8, false, 127, 32, 203},
    {"64 x 1K, 8 ranks", 1024, 8, false, 123, 32, 203},
    {"1 x 64K, 8 ranks, cuDNN", 65536, 8, true, 143, 71, 238},
    {"8 x 8K, 8 ranks, cuDNN", 8192, 8, true, 147, 71, 238},
    {"64 x 1K, 8 ranks, cuDNN", 1024, 8, true, 143, 71, 238},
};

static_assert(std::ranges::all_of(kLayers, [](const LayerBudget& layer) {
  return layer.context > 1 || layer.launches <= 80;
}));

// What a micro batch takes beside its layers: for each chunk of labelled rows that the head takes,
// and for the rest.
struct {
  int64_t launches, copies, allocations;
} constexpr kChunk = {7, 1, 9}, kRest = {7, 9, 20};
// Context ranks: the indices that rows are exchanged by, made once for all layers.
constexpr int64_t kIndices = 2;
// None within a micro batch: its figures are looked at when it is over. And one of an update, for the
// gradients' norm.
constexpr int64_t kWaitsOfFigures = 1, kWaitsOfUpdate = 1;
// Kernels of an update beside one for each tensor that trains.
constexpr int64_t kLaunchesOfUpdate = 3;

Config config_of_step() {
  Config config;
  config.model.dtype = ComputeDType::bfloat16;
  config.data.max_tokens = kTokens;
  config.data.label_mode = data::LabelMode::all;
  config.train.recompute = model::Recompute::none;
  return config;
}

PlannedStep planned(const LayerBudget& budget, const Config& config) {
  return plan_step(config, test::qwen3_8b(), {1, budget.context, 1}, DeviceKind::cuda,
                   {.document_tokens = budget.document_tokens},
                   budget.library ? test::kWithLibrary : ops::AttentionMeans{});
}

TEST(Budgets, OfALayer) {
  for (const LayerBudget& budget : kLayers) {
    const DeviceCalls calls = planned(budget, config_of_step()).layer;
    EXPECT_LE(calls.launches, double(budget.launches)) << budget.name;
    EXPECT_LE(calls.copies, double(budget.copies)) << budget.name;
    EXPECT_LE(calls.allocations, double(budget.allocations)) << budget.name;
    EXPECT_EQ(calls.host_waits, 0) << budget.name;
  }
}

TEST(Budgets, OfAMicroBatch) {
  for (const LayerBudget& budget : kLayers) {
    const Config config = config_of_step();
    const PlannedStep step = planned(budget, config);
    const auto layers = double(test::qwen3_8b().num_layers);
    const int64_t rows = kTokens / budget.context;
    const int64_t chunk_count = rows / config.train.loss.chunk_rows;
    const auto chunks = double(chunk_count);
    const auto beside = [&](double DeviceCalls::*calls) {
      return step.whole.*calls - layers * step.layer.*calls;
    };
    const int64_t indices = budget.context > 1 ? kIndices : 0;
    const auto most = [&](int64_t chunk, int64_t rest) {
      return chunks * double(chunk) + double(rest) + 1e-6;
    };
    EXPECT_LE(beside(&DeviceCalls::launches), most(kChunk.launches, kRest.launches)) << budget.name;
    EXPECT_LE(beside(&DeviceCalls::copies), most(kChunk.copies, kRest.copies + indices))
        << budget.name;
    EXPECT_LE(beside(&DeviceCalls::allocations),
              most(kChunk.allocations, kRest.allocations + indices))
        << budget.name;
    const auto roles = roles_of(step.ranges);
    int64_t within = 0, behind = 0;
    for (size_t i = 0; i < roles.size(); ++i) {
      const StepPart part = roles[i].part;
      if (part == StepPart::outside || part == StepPart::update) continue;
      (part == StepPart::figures ? behind : within) += step.ranges[i].host_waits;
    }
    EXPECT_EQ(within, 0) << budget.name;
    EXPECT_EQ(behind, kWaitsOfFigures) << budget.name;
  }
}

TEST(Budgets, OfAnUpdate) {
  const PlannedStep step = planned(kLayers[0], config_of_step());
  double launches = 0, adamw = 0, waits = 0;
  for (const RangeRecord& range : step.ranges) {
    waits += double(range.host_waits);
    for (const OpRecord& op : range.ops) {
      launches += double(op.sum.launches);
      if (std::string_view(op.sum.name) == "adamw") adamw += double(op.sum.launches);
    }
  }
  EXPECT_EQ(waits, double(kWaitsOfFigures + kWaitsOfUpdate));
  EXPECT_LE(launches - step.whole.launches - adamw, double(kLaunchesOfUpdate));
}

// Between a forward and a backward pass ranks exchange what the gradient needs, and the host
// nothing: its sums of figures come once in a step.
TEST(Budgets, NoHostSumsInAMicroBatch) {
  const PlannedStep step = plan_step(config_of_step(), test::qwen3_8b(), {2, 2, 2},
                                     DeviceKind::cuda, {.document_tokens = 8192});
  int64_t of_update = 0;
  for (const PlannedCollective& c : step.micro_batch) EXPECT_NE(c.what, "figures") << c.axis;
  for (const PlannedCollective& c : step.update) {
    if (c.what == "figures" && c.axis != "data") of_update += c.calls;
  }
  // Visited tiles over the context group; counts, and the norm, over the tensor group; sums.
  EXPECT_LE(of_update, 4);
}

}  // namespace
}  // namespace elastron::train
