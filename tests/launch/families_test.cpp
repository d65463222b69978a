// The families beside Qwen3 through the real program: trained on any layout, exported, adapted,
// scored.
#include <gtest/gtest.h>

#include <cmath>

#include "core/file/safetensors.h"
#include "tests/launch/program.h"

namespace elastron::test {
namespace {

std::string train(const std::string& config, const std::string& model, const std::string& folder,
                  const std::string& more = "") {
  return "train " + std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/" + config +
         ".yaml --set model.path=" + model + " --set output.dir=" + folder + " " + more;
}

struct Layout {
  int ranks;
  const char* sets;
};

void expect_same_on_layouts(const std::string& config, const std::string& model,
                            const std::string& common, const std::vector<Layout>& layouts) {
  const Scratch one;
  const auto golden = elastron(0, train(config, model, one.path(), common));
  ASSERT_EQ(golden.code, 0) << golden.err;
  for (const Layout& l : layouts) {
    const Scratch other;
    const auto run = elastron(l.ranks, train(config, model, other.path(), common + l.sets));
    ASSERT_EQ(run.code, 0) << run.err;
    expect_same_curve(metrics(one.path()), metrics(other.path()), 1e-5, config + " " + l.sets);
  }
}

const std::vector<Layout> kLayouts = {
    {2, " --set parallel.tensor=2"},
    {2, " --set parallel.context=2"},
    {4, " --set parallel.tensor=4 --set parallel.sequence=true --set train.recompute=layer"}};

// By its model_type.
class Family : public testing::TestWithParam<std::string> {};

TEST_P(Family, PretrainsOnAnyLayout) {
  expect_same_on_layouts("pretrain", tiny_shapes(GetParam()), "", kLayouts);
}

TEST_P(Family, RoutersTrainOnAnyLayout) {
  expect_same_on_layouts("router", tiny_backbone(GetParam()), "--set train.steps=10", kLayouts);
}

TEST_P(Family, AdaptersTrainOnAnyLayout) {
  expect_same_on_layouts("reward", tiny_backbone(GetParam()), "--set train.steps=4", kLayouts);
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
  const Scratch scratch;
  const std::string& backbone = tiny_backbone(GetParam());
  const std::string settings = std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/reward.yaml ";
  const auto run = elastron(0, train("reward", backbone, scratch / "run", "--set train.steps=3"));
  ASSERT_EQ(run.code, 0) << run.err;
  const auto written = elastron(2, "export --format hf-reference --checkpoint " +
                                       (scratch / "run") + " --out " + (scratch / "model"));
  ASSERT_EQ(written.code, 0) << written.err;
  const auto config = nlohmann::json::parse(read_text(scratch / "model/config.json"));
  EXPECT_EQ(config["model_type"], GetParam());
  const auto causal = nlohmann::json::parse(read_text(backbone + "/config.json"));
  std::string architecture = causal["architectures"][0];
  architecture.replace(architecture.find("CausalLM"), 8, "SequenceClassification");
  EXPECT_EQ(config["architectures"][0], architecture);
  std::filesystem::create_directory(scratch / "data");
  const auto made = elastron(0,
                             "synthesize --pairs --form benchmark --lexicon coded --length 128 "
                             "--records 4 --kind sequential-noise --out " +
                                 (scratch / "data/Sequential.jsonl"));
  ASSERT_EQ(made.code, 0) << made.err;
  const auto scores = [&](const std::string& model, const std::string& more,
                          const std::string& out) {
    const auto scored = elastron(2, "eval-reward " + settings + "--set model.path=" + model + more +
                                        " --data " + (scratch / "data") + " --out " + out);
    EXPECT_EQ(scored.code, 0) << scored.err;
    std::vector<double> all;
    std::istringstream rows(read_text(out + "/rows.jsonl"));
    for (std::string line; std::getline(rows, line);) {
      const auto row = nlohmann::json::parse(line);
      all.push_back(row["score_chosen"]);
      all.push_back(row["score_rejected"]);
    }
    return all;
  };
  const auto trained = scores(backbone, " --checkpoint " + (scratch / "run"), scratch / "trained");
  const auto exported =
      scores(scratch / "model", " --set train.trainable=[]", scratch / "exported");
  ASSERT_EQ(trained.size(), 8u);
  ASSERT_EQ(exported.size(), trained.size());
  for (size_t i = 0; i < trained.size(); ++i) EXPECT_NEAR(trained[i], exported[i], 1e-4);
}

INSTANTIATE_TEST_SUITE_P(All, Family, testing::Values("llama", "mistral", "qwen2"),
                         [](const auto& family) { return family.param; });

}  // namespace
}  // namespace elastron::test
