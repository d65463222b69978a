// Reward training through the real program: the same curve on any layout, exact resume, what is
// learned and what is not, bad input.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/launch/reward_support.h"

namespace elastron::test {
namespace {

// What trains, and with which loss.
const std::vector<std::string> kVariants = {
    "--set train.trainable=[reward_head]",
    "--set train.trainable=[reward_head,lora]",
    "--set train.trainable=[reward_head,lora,router]",
    "--set train.trainable=[reward_head,router] --set router.preset=flux --set router.init=normal",
    "--set train.trainable=[reward_head,backbone]",
    "--set train.trainable=[lora] --set reward.loss=simpo --set "
    "train.lora.targets=[q_proj,down_proj]",
    "--set train.trainable=[backbone] --set reward.loss=simpo"};

class Reward : public ::testing::TestWithParam<std::string> {};

TEST_P(Reward, CurveIsTheSameOnAnyLayout) {
  const Scratch one;
  const auto golden_run = elastron(0, arguments(one.path(), GetParam()));
  ASSERT_EQ(golden_run.code, 0) << golden_run.err;
  const auto golden = metrics(one.path());
  ASSERT_EQ(golden.size(), 8u);
  // Something is learned: a constant curve would prove nothing.
  EXPECT_NE(golden.at(8)["reward_std"], golden.at(1)["reward_std"]);
  EXPECT_GT(golden.at(1)["prompt_tokens_saved"].get<double>(), 0);
  for (const Layout l : {Layout{2, 1}, {2, 2}, {4, 2}}) {
    const Scratch other;
    const auto run = elastron(l.ranks, arguments(other.path(), GetParam() + tensor(l)));
    ASSERT_EQ(run.code, 0) << run.err;
    expect_same_curve(golden, metrics(other.path()), 1e-5,
                      GetParam() + " on " + std::to_string(l.ranks) + tensor(l));
  }
}

// Prompts on several ranks, responses shorter than the group's blocks on one or two of them, and
// responses behind prompts of their own.
TEST_P(Reward, CurveIsTheSameOnContextRanks) {
  const std::string c = " --set parallel.context=", t = " --set parallel.tensor=",
                    u = " --set parallel.context_kind=ulysses";
  for (const std::string prompts :
       {" --set reward.traces.lengths=[300]", " --set reward.share_prompts=false"}) {
    const std::string everywhere = GetParam() + prompts + " --set eval.every=4";
    const Scratch one;
    const auto golden = elastron(0, arguments(one.path(), everywhere));
    ASSERT_EQ(golden.code, 0) << golden.err;
    for (const auto& [ranks, layout] :
         {std::pair{2, c + "2"}, {4, c + "4"}, {4, c + "2" + t + "2"}, {4, c + "2" + u}}) {
      const Scratch other;
      const auto run = elastron(ranks, arguments(other.path(), everywhere + layout));
      ASSERT_EQ(run.code, 0) << run.err;
      expect_same_curve(metrics(one.path()), metrics(other.path()), 1e-5, everywhere + layout);
    }
  }
}

TEST_P(Reward, ResumesExactly) {
  const std::string last = "/checkpoints/step-00000008.h5";
  const Scratch whole;
  const std::string often = GetParam() + " --set checkpoint.every=4 --set checkpoint.keep=9";
  ASSERT_EQ(elastron(2, arguments(whole.path(), often)).code, 0);
  for (const Layout l : {Layout{2, 1}, {2, 2}, {0, 1}}) {
    const Scratch parts;
    fs::copy(whole.path(), parts.path(), fs::copy_options::recursive);
    // What a run that was stopped after step 4 leaves.
    fs::remove(parts.path() + last);
    write_text(parts.path() + "/checkpoints/latest", "step-00000004.h5\n");
    const auto run = elastron(l.ranks, arguments(parts.path(), often + tensor(l)));
    ASSERT_EQ(run.code, 0) << run.err;
    EXPECT_NE(run.err.find("step-00000004.h5 at step 4"), std::string::npos) << run.err;
    const bool same = l.ranks == 2 && l.tensor == 1;
    expect_same_curve(metrics(whole.path()), metrics(parts.path()), same ? 0 : 1e-5,
                      GetParam() + " on " + std::to_string(l.ranks));
    if (same) {
      EXPECT_EQ(contents(whole.path() + last), contents(parts.path() + last));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, Reward, ::testing::ValuesIn(kVariants),
                         [](const auto& variant) { return "v" + std::to_string(variant.index); });

TEST(RewardTraining, SharedOptimiserStateChangesNoBit) {
  const std::string all =
      "--set train.trainable=[reward_head,backbone] --set model.dtype=bfloat16 ";
  const std::string more = all + "--set train.steps=12 --set train.schedule=constant ";
  const std::string whole = "--set train.shard_optimizer=false ";
  const Scratch shared, apart;
  const auto run = elastron(2, arguments(shared.path(), all));
  ASSERT_EQ(run.code, 0) << run.err;
  ASSERT_EQ(elastron(2, arguments(apart.path(), all + whole)).code, 0);
  expect_same_curve(metrics(shared.path()), metrics(apart.path()), 0, "shared");
  // Each goes on from what the other way left: masters and moments were the same bits too.
  ASSERT_EQ(elastron(2, arguments(shared.path(), more + whole)).code, 0);
  ASSERT_EQ(elastron(2, arguments(apart.path(), more)).code, 0);
  ASSERT_EQ(metrics(shared.path()).size(), 12u);
  expect_same_curve(metrics(shared.path()), metrics(apart.path()), 0, "exchanged");
}

TEST(RewardTraining, PromptsSharedOrNotIsTheSameCurve) {
  const std::string trained = "--set train.trainable=[reward_head,lora,router] ";
  const Scratch shared, apart;
  ASSERT_EQ(elastron(0, arguments(shared.path(), trained)).code, 0);
  ASSERT_EQ(elastron(0, arguments(apart.path(), trained + "--set reward.share_prompts=false")).code,
            0);
  expect_same_curve(metrics(shared.path()), metrics(apart.path()), 1e-5, "prompts apart");
  EXPECT_EQ(metrics(apart.path()).at(1)["prompt_tokens_saved"], 0);
}

// Rows whose chosen response has one word, and whose rejected one has another.
std::string separable(const std::string& path, int rows, int first) {
  std::ofstream out(path);
  for (int i = first; i < first + rows; ++i) {
    const std::string n = std::to_string(i % 30), m = std::to_string(i / 30 % 30);
    out << R"({"prompt": "find the secret k)" << n << " n" << m << R"(", "chosen": "n)" << m
        << " v1 n" << n << R"(", "rejected": "n)" << m << " v2 n" << n << "\"}\n";
  }
  return path;
}

TEST(RewardTraining, LearnsPairsThatOneTokenSeparates) {
  const Scratch run;
  const std::string files = "--set data.format=jsonl --set data.train=[" +
                            separable(run / "train.jsonl", 16, 0) + "] --set data.eval=[" +
                            separable(run / "eval.jsonl", 16, 100) + "] --set eval.every=60 ";
  const auto trained =
      elastron(0, arguments(run / "out", files + "--set train.trainable=[reward_head,lora] --set "
                                                 "train.steps=60 --set train.lr.lora=5e-3 --set "
                                                 "train.lr.head=5e-3 --set train.warmup_ratio=0"));
  ASSERT_EQ(trained.code, 0) << trained.err;
  const auto last = metrics(run / "out").at(60);
  EXPECT_LT(last["loss"].get<double>(), 0.05);
  EXPECT_EQ(last["accuracy"], 1.0);
  EXPECT_NE(trained.err.find("accuracy 1.000 (longer wins 0.500)"), std::string::npos)
      << trained.err;
}

// The shipped configuration on shorter traces, for a part of its steps: judges of held-out traces
// that no rule about lengths comes near.
TEST(RewardTraining, LearnsToReadMemories) {
  const Scratch run;
  const std::string source = ELASTRON_SOURCE_DIR;
  const auto trained =
      elastron(2, "train " + source + "/configs/tiny/reward.yaml --set model.path=" + source +
                      "/configs/tiny/backbone --set reward.traces.lengths=[256] --set "
                      "reward.traces.eval_pairs=256 --set train.steps=80 --set eval.every=80 --set "
                      "output.dir=" +
                      run.path());
  ASSERT_EQ(trained.code, 0) << trained.err;
  std::ifstream lines(run / "metrics.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const auto object = nlohmann::json::parse(line);
    if (!object.contains("eval_accuracy")) continue;
    EXPECT_GT(object["eval_accuracy"].get<double>(), 0.85);
    EXPECT_LT(std::abs(object["eval_longer_wins"].get<double>() - 0.5), 0.1);
    return;
  }
  ADD_FAILURE() << "no evaluation";
}

TEST(RewardTraining, TurnedRoundLabelsTeachNothing) {
  const Scratch run;
  const auto trained =
      elastron(0, arguments(run.path(),
                            "--set train.trainable=[reward_head,lora] --set train.steps=20 "
                            "--set reward.shuffle_labels=true --set eval.every=20 --set "
                            "reward.traces.eval_pairs=128"));
  ASSERT_EQ(trained.code, 0) << trained.err;
  std::ifstream lines(run / "metrics.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const auto object = nlohmann::json::parse(line);
    if (!object.contains("eval_accuracy")) continue;
    EXPECT_NEAR(object["eval_accuracy"].get<double>(), 0.5, 0.2);
    return;
  }
  ADD_FAILURE() << "no evaluation";
}

// --- bad input
// ------------------------------------------------------------------------------------
// ------------------------------------------------------------------------------------

class BadPairs : public ::testing::Test {
 protected:
  Outcome train(const std::string& rows, const std::string& more = "", int ranks = 2) {
    write_text(scratch_ / "rows.jsonl", rows);
    return elastron(ranks,
                    arguments(scratch_ / "run", "--set data.format=jsonl --set data.train=[" +
                                                    (scratch_ / "rows.jsonl") + "] " + more));
  }
  static std::string good(int n) {
    std::string rows;
    for (int i = 0; i < n; ++i) {
      rows += R"({"prompt": "find k)" + std::to_string(i) +
              R"(", "chosen": "v1", "rejected": "v2"})" + "\n";
    }
    return rows;
  }
  Scratch scratch_;
};

TEST_F(BadPairs, RowsAreNamedOrCounted) {
  expect_error(train(good(9) + "{\"prompt\": \"p\", \"chosen\": \"a\"}\n"), 3,
               {"rows.jsonl:10", "rejected"});
  expect_error(train(good(9) + "{\"prompt\": \"p\", \n"), 3, {"rows.jsonl:10"});
  expect_error(train(good(9) + R"({"prompt": "p", "chosen": "a", "rejec)"), 3, {"rows.jsonl:10"});
  const std::string equal = R"({"prompt": "p", "chosen": "v1 v2", "rejected": "v1 v2"})"
                            "\n";
  expect_error(train(good(9) + equal), 3, {"rows.jsonl:10", "chosen equals rejected"});
  const auto counted = train(good(9) + equal + good(1), "--set reward.bad_rows=skip");
  ASSERT_EQ(counted.code, 0) << counted.err;
  EXPECT_NE(counted.err.find("9 pairs of 11 rows"), std::string::npos) << counted.err;
  EXPECT_NE(counted.err.find("1 chosen equals rejected"), std::string::npos) << counted.err;
  EXPECT_NE(counted.err.find("1 duplicate row"), std::string::npos) << counted.err;
}

// As published: lists of messages, with a prompt of their own or without.
TEST_F(BadPairs, ListsOfMessages) {
  std::string rows;
  for (int i = 0; i < 10; ++i) {
    const auto list = [&](const std::string& answer) {
      return R"([{"role": "user", "content": "find k)" + std::to_string(i) +
             R"("}, {"role": "assistant", "content": ")" + answer + R"("}])";
    };
    const std::string prompt =
        i % 2 == 0 ? R"("prompt": "find k)" + std::to_string(i) + R"(", )" : std::string();
    rows += "{" + prompt + R"("chosen": )" + list("v1") + R"(, "rejected": )" + list("v2") + "}\n";
  }
  const auto lists = train(rows, "", 0);
  ASSERT_EQ(lists.code, 0) << lists.err;
  EXPECT_NE(lists.err.find("10 pairs of 10 rows"), std::string::npos) << lists.err;
  // The same pairs as text.
  const auto curve = metrics(scratch_ / "run");
  fs::remove_all(scratch_ / "run");
  const auto texts = train(good(10), "", 0);
  ASSERT_EQ(texts.code, 0) << texts.err;
  expect_same_curve(curve, metrics(scratch_ / "run"), 0, "as text");
  expect_error(train(rows + rows), 3, {"rows.jsonl:11", "duplicate row", "reward.bad_rows: skip"});
  const auto skipped =
      train(rows + "{\n", "--set data.bad_records=skip --set output.dir=" + (scratch_ / "skipped"));
  ASSERT_EQ(skipped.code, 0) << skipped.err;
  EXPECT_NE(skipped.err.find("1 no row: not acceptable JSON"), std::string::npos) << skipped.err;
}

TEST_F(BadPairs, TooLong) {
  std::string prompt;
  for (int i = 0; i < 600; ++i) prompt += "n1 ";
  const std::string row =
      R"({"prompt": ")" + prompt + R"(", "chosen": "v1", "rejected": "v2"})" + "\n";
  expect_error(train(good(9) + row, "--set reward.overlong=error"), 3,
               {"rows.jsonl:10", "602 tokens", "the limit is 400"});
  const auto dropped = train(good(9) + row);
  ASSERT_EQ(dropped.code, 0) << dropped.err;
  EXPECT_NE(dropped.err.find("1 longer than the limit"), std::string::npos) << dropped.err;
  expect_error(train(row), 3, {"no pair is left of 1 row"});
}

TEST_F(BadPairs, Configurations) {
  const auto run = [&](const std::string& more) {
    return elastron(2, arguments(scratch_ / "run", more));
  };
  expect_error(run("--set train.trainable=[lora,backbone]"), 2, {"train.trainable", "adapters"});
  expect_error(run("--set train.trainable=[lora]"), 2, {"train.trainable", "no reward head"});
  expect_error(run("--set reward.loss=simpo --set train.trainable=[reward_head,lora]"), 2,
               {"train.trainable"});
  expect_error(run("--set train.lora.targets=[q_prjo]"), 2, {"q_prjo", "train.lora.targets"});
  expect_error(run("--set reward.traces.lengths=[64]"), 2, {"reward.traces.lengths"});
  expect_error(run("--set data.format=packed"), 2, {"data.format"});
  expect_error(run("--set reward.router=" + (scratch_ / "nowhere")), 4, {"nowhere"});
}

}  // namespace
}  // namespace elastron::test
