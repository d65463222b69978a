// model.storage through the real program: a frozen backbone in e4m3 trains routers and adapters to the
// same curve on any layout, is resumed, evaluated and generated from, and is refused where it trains.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "tests/launch/families.h"

namespace elastron::test {
namespace {

std::string train(const std::string& config, const std::string& folder, const std::string& more) {
  return train_command(config, tiny_backbone(), folder, more);
}

constexpr const char* kFp8 = "--set model.storage=fp8 ";

const std::vector<Layout> kLayouts = {{2, "--set parallel.tensor=2"},
                                      {2, "--set parallel.context=2"},
                                      {2, ""},
                                      {4, "--set parallel.tensor=4 --set train.recompute=layer"}};

TEST(Storage, RoutersTrainOnAnyLayout) {
  expect_same_on_layouts("router", tiny_backbone(), std::string(kFp8) + "--set train.steps=10 ",
                         kLayouts);
}

TEST(Storage, AdaptersTrainOnAnyLayout) {
  expect_same_on_layouts("reward", tiny_backbone(), std::string(kFp8) + "--set train.steps=4 ",
                         kLayouts);
}

// bfloat16 and float32 are the same numbers here: the folder is in float32 and its weights are not
// numbers of bfloat16. What is computed is close to the run with all of its bits, and not the same.
TEST(Storage, ChangesTheCurveALittle) {
  const auto losses = [](const std::string& sets) {
    const Scratch scratch;
    const auto run = elastron(0, train("router", scratch.path(), "--set train.steps=3 " + sets));
    EXPECT_EQ(run.code, 0) << run.err;
    std::vector<double> all;
    for (const auto& [step, m] : metrics(scratch.path())) all.push_back(m["loss"]);
    return all;
  };
  const auto whole = losses(""), fp32 = losses("--set model.storage=fp32");
  const auto bf16 = losses("--set model.storage=bf16"), fp8 = losses(kFp8);
  ASSERT_EQ(whole.size(), 3u);
  EXPECT_EQ(whole, fp32);
  for (size_t i = 0; i < whole.size(); ++i) {
    const double of_bf16 = std::abs(bf16[i] - whole[i]), of_fp8 = std::abs(fp8[i] - whole[i]);
    EXPECT_GT(of_bf16, 0);
    EXPECT_GT(of_fp8, 0);
    EXPECT_LT(of_bf16, 0.004 * whole[i]);  // 8 bits of each weight
    EXPECT_LT(of_fp8, 0.06 * whole[i]);    // 4 bits
  }
}

// As with any other key: the run goes on and says what is different now.
TEST(Storage, IsToldOnResume) {
  const Scratch scratch;
  const std::string steps = "--set checkpoint.every=2 --set train.steps=";
  const auto first = elastron(0, train("router", scratch.path(), kFp8 + steps + "2"));
  ASSERT_EQ(first.code, 0) << first.err;
  const auto resumed = elastron(
      2, train("router", scratch.path(), kFp8 + steps + "4 --set parallel.tensor=2 --resume auto"));
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ((resumed.err + resumed.out).find("model.storage"), std::string::npos);
  const auto changed = elastron(0, train("router", scratch.path(), steps + "6 --resume auto"));
  ASSERT_EQ(changed.code, 0) << changed.err;
  EXPECT_NE(
      (changed.err + changed.out).find("model.storage is \"auto\" now, fp8 in the checkpoint"),
      std::string::npos)
      << changed.err;
}

TEST(Storage, IsOfFrozenWeights) {
  const Scratch scratch;
  expect_error(elastron(2, "train " + std::string(ELASTRON_SOURCE_DIR) +
                               "/tests/launch/pretrain.yaml --set model.path=" + tiny_shapes() +
                               " --set output.dir=" + scratch.path() + " " + kFp8),
               2, {"model.storage", "weights that train are in model.dtype", "auto"});
}

// Adapters that trained beside fp8: scored beside it on any number of ranks, and exported merged into
// the folder's own numbers. A checkpoint that holds a whole backbone has no storage.
TEST(Storage, RewardModelsBesideIt) {
  const Scratch scratch;
  const std::string settings = std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/reward.yaml ";
  const std::string lora = "--set train.trainable=[reward_head,lora] ";
  const auto run =
      elastron(0, train("reward", scratch / "run", kFp8 + lora + "--set train.steps=3"));
  ASSERT_EQ(run.code, 0) << run.err;
  make_benchmark(scratch / "data");
  const auto evaluate = [&](int ranks, const std::string& out, const std::string& more) {
    return elastron(ranks, "eval-reward " + settings + "--data " + (scratch / "data") + " --out " +
                               out + " " + more);
  };
  const auto scores = [&](int ranks, const std::string& out, const std::string& more) {
    const auto scored = evaluate(ranks, out, more);
    EXPECT_EQ(scored.code, 0) << scored.err;
    return row_scores(out);
  };
  const std::string beside = "--set model.path=" + tiny_backbone() + " " + lora + "--checkpoint " +
                             (scratch / "run") + " ";
  const auto one = scores(0, scratch / "one", beside + kFp8);
  const auto two = scores(2, scratch / "two", beside + kFp8 + "--set parallel.tensor=2");
  const auto whole = scores(0, scratch / "whole", beside);
  ASSERT_EQ(one.size(), 8u);
  ASSERT_EQ(two.size(), one.size());
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i], two[i], 1e-4);
  EXPECT_NE(one, whole);
  const auto written = elastron(0, "export --format hf-reference --checkpoint " +
                                       (scratch / "run") + " --out " + (scratch / "model"));
  ASSERT_EQ(written.code, 0) << written.err;
  const auto exported =
      scores(0, scratch / "exported",
             "--set model.path=" + (scratch / "model") + " --set train.trainable=[]");
  ASSERT_EQ(exported.size(), whole.size());
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(exported[i], whole[i], 1e-4);

  const std::string all = "--set train.trainable=[reward_head,backbone] ";
  ASSERT_EQ(elastron(0, train("reward", scratch / "all", all + "--set train.steps=1")).code, 0);
  expect_error(evaluate(2, scratch / "refused",
                        "--set model.path=" + tiny_backbone() + " --checkpoint " +
                            (scratch / "all") + " " + kFp8),
               2, {"holds a whole backbone", "model.storage", "auto"});
}

// 8,190,735,360 numbers: 2 bytes of each, or 1 and a scale for 16,384; norms stay in bfloat16.
TEST(Storage, PlansCountIt) {
  const auto backbone = [](const std::string& sets) {
    const auto run = elastron(0, "plan " + std::string(ELASTRON_SOURCE_DIR) +
                                     "/configs/qwen3-8b.yaml --device h100 --ranks 8 " + sets);
    EXPECT_EQ(run.code, 0) << run.err;
    const size_t at = run.out.find("  backbone ");
    return at == std::string::npos ? run.out : run.out.substr(at, run.out.find('\n', at) - at);
  };
  EXPECT_NE(backbone("").find(" 15.26 GiB"), std::string::npos) << backbone("");
  EXPECT_NE(backbone(kFp8).find(" 7.63 GiB"), std::string::npos) << backbone(kFp8);
}

// What it prints is told apart by the storage that is compared with; the same one is no difference.
TEST(Storage, LogitsAreHeldAgainstAnotherOne) {
  const std::string folder = std::string(ELASTRON_TEST_FIXTURES) + "/hf/qwen3";
  const auto kl = [&](int ranks, const std::string& more) {
    const Scratch scratch;
    const auto run = elastron(ranks, "logits --model " + folder + " --tokens " + folder +
                                         "/tokens.json --dtype float32 --out " +
                                         (scratch / "out.h5") + " " + more);
    EXPECT_EQ(run.code, 0) << run.err;
    const size_t at = run.out.find("KL per token mean ");
    EXPECT_NE(at, std::string::npos) << run.out;
    EXPECT_NE(run.out.find("of 610 tokens"), std::string::npos) << run.out;
    return at == std::string::npos ? -1 : std::strtod(run.out.c_str() + at + 18, nullptr);
  };
  const double one = kl(0, std::string(kFp8) + "--reference-storage auto");
  EXPECT_GT(one, 1e-6);
  EXPECT_LT(one, 1e-2);
  for (const int ranks : {2, 4}) {
    EXPECT_NEAR(kl(ranks, std::string(kFp8) + "--reference-storage auto"), one, 0.01 * one);
  }
  EXPECT_EQ(kl(0, std::string(kFp8) + "--reference-storage fp8"), 0);
  // The folder's own numbers are bfloat16.
  EXPECT_EQ(kl(0, "--reference-storage bf16"), 0);
}

}  // namespace
}  // namespace elastron::test
