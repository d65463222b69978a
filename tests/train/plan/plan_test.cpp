// What the planner expects of uneven heads, and its device files.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>

#include "ops/timed_products.h"
#include "train/plan/device_spec.h"
#include "train/plan/step_time.h"
#include "train/plan/usable_memory.h"

namespace elastron::train {
namespace {

TEST(HeadImbalance, IsTheExpectedMaximum) {
  // One kv head each of 8, 0.3 of them dense.
  const double dense = 1 - std::pow(0.7, 8);
  EXPECT_NEAR(head_imbalance(8, 8, 0.7, 0.0653), (dense + (1 - dense) * 0.0653) / 0.34571, 1e-4);
  EXPECT_DOUBLE_EQ(head_imbalance(8, 1, 0.7, 0.1), 1);
  EXPECT_NEAR(head_imbalance(8, 4, 0.0, 0.1), 1, 1e-9);
}

const std::string kDevices = std::string(ELASTRON_SOURCE_DIR) + "/configs/devices";

std::string message(const std::string& device) {
  try {
    load_device_spec(device, kDevices);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(DeviceFiles, ThoseThatShipAreWhole) {
  for (const char* name : {"a100-80g", "b200", "cpu", "h100", "h200"}) {
    EXPECT_EQ(message(name), "") << name;
  }
  EXPECT_NE(message("h20").find("did you mean h200?"), std::string::npos);
}

// One share, for `plan` and for the check at the start of a run, which has no file.
TEST(UsableMemory, DeviceFilesSayWhatARunGoesBy) {
  for (const char* name : {"a100-80g", "b200", "cpu", "h100", "h200"}) {
    const DeviceSpec d = load_device_spec(name, kDevices);
    EXPECT_EQ(d.memory.usable, usable_share(d.kind)) << name;
  }
}

TEST(UsableMemory, AnIdleGpuGivesWhatThePlanSays) {
  constexpr int64_t kGB = 1'000'000'000;
  const OutsidePlan outside{
      .context = kGB / 2, .modules = kGB / 2, .collectives = kGB, .tuning = kGB};
  const int64_t planned = usable_memory(80e9, 0.94, outside);
  EXPECT_EQ(planned, int64_t(0.94 * 80e9));
  // The rank's own context is there already.
  EXPECT_EQ(usable_memory_now(80 * kGB, 80 * kGB - kGB / 2, 1, 0.94, outside), planned);
  EXPECT_EQ(usable_memory_now(80 * kGB, 80 * kGB, 1, 0.94, outside), planned);
  // What others hold is gone.
  EXPECT_EQ(usable_memory_now(80 * kGB, 60 * kGB - kGB / 2, 1, 0.94, outside),
            int64_t(0.94 * 60e9));
  // Ranks that share it have equal parts, each with what it takes outside.
  EXPECT_EQ(usable_memory_now(80 * kGB, 79 * kGB, 2, 0.94, outside), 37 * kGB);
  // On a small one what is outside counts more than the share.
  EXPECT_EQ(usable_memory(24e9, 0.94, outside), 21 * kGB);
  EXPECT_EQ(usable_memory(2e9, 0.94, outside), 1);
  EXPECT_EQ(usable_memory(0, 0.94, {}), 0);
}

TEST(UsableMemory, WhatIsOutsideGrowsWithGroups) {
  const auto of = [&](const parallel::MeshLayout& layout) {
    return outside_plan(layout, DeviceKind::cuda);
  };
  EXPECT_EQ(of({1, 1, 1}).collectives, 0);
  EXPECT_EQ(of({1, 1, 1}).tuning, ops::kTimingScratch);
  EXPECT_EQ(of({1, 8, 1}).collectives, 3 * of({8, 1, 1}).context / 2);  // world, context, both
  EXPECT_GT(of({2, 2, 2}).collectives, of({1, 8, 1}).collectives);
  EXPECT_EQ(outside_plan({1, 1, 1}, DeviceKind::cpu).total(), 0);
}

TEST(DeviceFiles, FaultsNameFileKeyAndLine) {
  std::ifstream in(kDevices + "/h100.yaml");
  const std::string good{std::istreambuf_iterator<char>(in), {}};
  const std::string path = testing::TempDir() + "/device.yaml";
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    std::ofstream(path) << text;
    return message(path);
  };
  const std::string missing = with("per_node: 8\n", "");
  EXPECT_NE(missing.find("no per_node"), std::string::npos) << missing;
  EXPECT_NE(missing.find(path), std::string::npos) << missing;
  const std::string unknown = with("per_node: 8", "per_nod: 8");
  EXPECT_NE(unknown.find("device.yaml:"), std::string::npos) << unknown;
  EXPECT_NE(with("per_node: 8", "per_node: 0").find("per_node"), std::string::npos);
  std::remove(path.c_str());
}

}  // namespace
}  // namespace elastron::train
