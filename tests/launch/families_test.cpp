// The families beside Qwen3 through the real program: trained on any layout, exported, adapted,
// scored.
#include "tests/launch/families.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/file/safetensors.h"

namespace elastron::test {
namespace {

// By its model_type.
class Family : public testing::TestWithParam<std::string> {};

TEST_P(Family, PretrainsOnAnyLayout) {
  expect_same_on_layouts("pretrain", tiny_shapes(GetParam()), "", kFamilyLayouts);
}

TEST_P(Family, RoutersTrainOnAnyLayout) {
  expect_same_on_layouts("router", tiny_backbone(GetParam()), "--set train.steps=10",
                         kFamilyLayouts);
}

TEST_P(Family, AdaptersTrainOnAnyLayout) {
  expect_same_on_layouts("reward", tiny_backbone(GetParam()), "--set train.steps=4",
                         kFamilyLayouts);
}

// Every bias of a trained backbone has moved from 0, and its folder is one of the family.
TEST(FamilyWithBiases, IsExportedWithThem) {
  CpuDevice cpu;
  const SafetensorsFile file(tiny_backbone("qwen2") + "/model.safetensors");
  int biases = 0;
  for (const auto& [name, entry] : file.entries()) {
    EXPECT_EQ(name.find("_norm."), std::string::npos) << name;
    if (!name.ends_with(".bias")) continue;
    ++biases;
    double most = 0;
    for (const float v : file.read(name, cpu).to_vector<float>()) {
      most = std::max(most, double(std::abs(v)));
    }
    EXPECT_GT(most, 0) << name;
  }
  EXPECT_EQ(biases, 2 * 3);
  const auto config = nlohmann::json::parse(read_text(tiny_backbone("qwen2") + "/config.json"));
  EXPECT_EQ(config["architectures"][0], "Qwen2ForCausalLM");
}

// The adapters are merged into the weights, biases stay, and the folder is a classifier's, which is
// read again.
TEST_P(Family, ARewardModelIsExportedAsAClassifier) {
  const std::string& backbone = tiny_backbone(GetParam());
  const auto config = nlohmann::json::parse(read_text(backbone + "/config.json"));
  std::string architecture = config["architectures"][0];
  architecture.replace(architecture.find("CausalLM"), 8, "SequenceClassification");
  expect_exported_classifier(backbone, architecture, "");
}

INSTANTIATE_TEST_SUITE_P(All, Family, testing::Values("llama", "mistral", "qwen2"),
                         [](const auto& family) { return family.param; });

}  // namespace
}  // namespace elastron::test
