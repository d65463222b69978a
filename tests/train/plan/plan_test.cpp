// What the planner expects of uneven heads, and its device files.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>

#include "train/plan/device_spec.h"
#include "train/plan/step_time.h"

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
