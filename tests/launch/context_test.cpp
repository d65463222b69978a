// Context parallelism through the real program: the same curve whoever has which part of a
// sequence, evaluation and resumption on other layouts, settings that cannot work.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/launch/evaluations.h"
#include "tests/launch/program.h"

namespace elastron::test {
namespace {

// Documents of four to eight blocks, and some of one or two.
std::string arguments(const std::string& folder, const std::string& more = "") {
  return "train " + std::string(ELASTRON_SOURCE_DIR) +
         "/tests/launch/router.yaml --set model.path=" + tiny_backbone() +
         " --set output.dir=" + folder +
         " --set train.steps=12 --set train.global_batch=4 --set data.max_tokens=1000 "
         "--set data.synthetic.lengths=[70,300,450] --set router.ssa.sink=64 "
         "--set router.ssa.local=64 --set router.ssa.block=64 " +
         more;
}

struct Layout {
  int ranks;
  std::string settings;
};

void expect_the_same_curve(const std::string& everywhere, const std::vector<Layout>& layouts) {
  const Scratch one;
  const auto first = elastron(0, arguments(one.path(), everywhere));
  ASSERT_EQ(first.code, 0) << first.err;
  const auto golden = metrics(one.path());
  ASSERT_EQ(golden.size(), 12u);
  // Heads do skip something, but for masks, which begin open.
  if (everywhere.find("static-l0") == std::string::npos) {
    EXPECT_GT(golden.at(12)["esr_tiles"].get<double>(), 0.0);
  }
  for (const Layout& l : layouts) {
    const Scratch other;
    const auto run = elastron(l.ranks, arguments(other.path(), everywhere + " " + l.settings));
    ASSERT_EQ(run.code, 0) << run.err;
    expect_same_curve(golden, metrics(other.path()), 1e-5,
                      std::to_string(l.ranks) + " ranks " + l.settings);
  }
}

TEST(Context, OneCurveOnAnyLayout) {
  const std::string c = "--set parallel.context=", t = " --set parallel.tensor=",
                    u = " --set parallel.context_kind=ulysses";
  expect_the_same_curve("", {{2, c + "2"},
                             {4, c + "4"},
                             {3, c + "3"},
                             {4, c + "2"},
                             {4, c + "2" + t + "2"},
                             {8, c + "2" + t + "2"},
                             {8, c + "8"},
                             {2, c + "2" + u},
                             {4, c + "4" + u},
                             {4, c + "2" + t + "2" + u}});
}

TEST(Context, WhateverIsRecomputed) {
  for (const std::string recompute : {"none", "layer"}) {
    expect_the_same_curve("--set train.recompute=" + recompute,
                          {{2, "--set parallel.context=2"},
                           {2, "--set parallel.context=2 --set parallel.context_kind=ulysses"}});
  }
}

TEST(Context, MicroBatchesOfSeveralPacks) {
  expect_the_same_curve("--set train.micro_batch=4", {{4, "--set parallel.context=4"}});
}

// A rank's parts choose the blocks that the whole would: parts hold whole blocks.
TEST(Context, BlocksThatXAttentionChooses) {
  const std::string two = "--set parallel.context=2";
  expect_the_same_curve(
      "--set router.mode=fa-xa --set router.xa.block=64 --set router.xa.stride=8 "
      "--set router.xa.threshold=0.6",
      {{2, two},
       {4, "--set parallel.context=4"},
       {4, two},
       {4, two + " --set parallel.tensor=2"},
       {2, two + " --set parallel.context_kind=ulysses"}});
  // Parts of 128 tokens; the first chunk of the published rule, by positions.
  expect_the_same_curve(
      "--set router.mode=xa-ssa --set router.xa.block=128 --set router.xa.stride=8 "
      "--set router.xa.threshold=0.6 --set router.xa.select=reference",
      {{2, two}, {4, "--set parallel.context=4"}});
}

// Their means are of the whole blocks that a part has.
TEST(Context, TheTopBlocks) {
  const std::string two = "--set parallel.context=2";
  const std::string topk = " --set router.topk.block=64 --set router.topk.blocks=3";
  expect_the_same_curve("--set router.mode=fa-topk" + topk,
                        {{2, two},
                         {4, two + " --set parallel.tensor=2"},
                         {2, two + " --set parallel.context_kind=ulysses"}});
  expect_the_same_curve("--set router.mode=topk-ssa" + topk, {{4, "--set parallel.context=4"}});
}

// The last queries of a sequence see all, whichever rank has them.
TEST(Context, ADenseTail) {
  expect_the_same_curve("--set router.ssa.form=triangle --set router.ssa.last=100",
                        {{2, "--set parallel.context=2"},
                         {4, "--set parallel.context=4"},
                         {2, "--set parallel.context=2 --set parallel.context_kind=ulysses"}});
}

TEST(Context, StaticMasksAndPretraining) {
  expect_the_same_curve("--set router.kind=static-l0", {{2, "--set parallel.context=2"}});
  const auto pretrain = [](const std::string& folder, const std::string& more) {
    return "train " + std::string(ELASTRON_SOURCE_DIR) +
           "/tests/launch/pretrain.yaml --set model.path=" + tiny_shapes() +
           " --set output.dir=" + folder +
           " --set train.steps=6 --set data.synthetic.lengths=[300] --set data.max_tokens=400 " +
           more;
  };
  const Scratch one;
  ASSERT_EQ(elastron(0, pretrain(one.path(), "")).code, 0);
  for (const std::string more : {"--set parallel.context=2",
                                 "--set parallel.context=2 --set parallel.context_kind=ulysses"}) {
    const Scratch other;
    const auto run = elastron(2, pretrain(other.path(), more));
    ASSERT_EQ(run.code, 0) << run.err;
    expect_same_curve(metrics(one.path()), metrics(other.path()), 1e-5, more);
  }
}

TEST(Context, EvaluatesAndResumesOnAnotherLayout) {
  const Scratch whole, parts;
  const std::string every = "--set checkpoint.every=6 --set checkpoint.keep=9 --set eval.every=6";
  ASSERT_EQ(elastron(0, arguments(whole.path(), every)).code, 0);
  const auto first = elastron(4, arguments(parts.path(), every + " --set parallel.context=4"));
  ASSERT_EQ(first.code, 0) << first.err;
  ASSERT_TRUE(std::filesystem::remove(parts.path() + "/checkpoints/step-00000012.h5"));
  const auto second =
      elastron(2, arguments(parts.path(), every + " --set parallel.context=2 "
                                                  "--set parallel.context_kind=ulysses"));
  ASSERT_EQ(second.code, 0) << second.err;
  EXPECT_NE(second.err.find("resumed from"), std::string::npos) << second.err;
  expect_same_curve(metrics(whole.path()), metrics(parts.path()), 1e-5, "resumed");

  const auto evaluated = [](int ranks, const std::string& folder, const std::string& more) {
    const Scratch out;
    const auto run = elastron(ranks, "eval " + folder + "/config.yaml --checkpoint " + folder +
                                         "/checkpoints/step-00000012.h5 --out " +
                                         (out / "eval.json") + " " + more);
    EXPECT_EQ(run.code, 0) << run.err;
    return nlohmann::json::parse(read_text(out / "eval.json"));
  };
  const auto one = evaluated(0, whole.path(), "");
  const auto four = evaluated(4, whole.path(), "--set parallel.context=4");
  for (const char* figure : {"loss", "accuracy", "msr", "esr_tiles"}) {
    EXPECT_NEAR(one["all"][figure].get<double>(), four["all"][figure].get<double>(), 1e-6)
        << figure;
  }
  expect_same_heads(one, four);
}

TEST(Context, SettingsThatCannotWork) {
  const Scratch folder;
  const std::string two = "--set parallel.context=2 ",
                    ulysses = "--set parallel.context_kind=ulysses ";
  expect_error(elastron(2, arguments(folder.path(), "--set parallel.context=3")), 2,
               {"parallel.context"});
  expect_error(elastron(2, arguments(folder.path(), two + "--set data.max_tokens=60")), 2,
               {"parallel.context", "set it to 1 or less"});
  // A rank's part has whole blocks of XAttention.
  expect_error(elastron(2, arguments(folder.path(), two + "--set router.mode=fa-xa "
                                                          "--set router.xa.block=1024")),
               2, {"parallel.context", "1024 tokens", "set it to 1 or less"});
  expect_error(elastron(3, arguments(folder.path(), ulysses + "--set parallel.context=3")), 2,
               {"parallel.context", "8 kv heads", "set it to 2"});
  expect_error(elastron(0, "score-heads " + std::string(ELASTRON_SOURCE_DIR) +
                               "/tests/launch/router.yaml --out " + (folder / "heads.json") +
                               " --set model.path=" + tiny_backbone() + " " + two),
               2, {"parallel.context"});
}

}  // namespace
}  // namespace elastron::test
