// Design invariants through the real program: the same curve on any layout, exact resume, frozen
// backbone.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

std::string config(const std::string& name) {
  return std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/" + name + ".yaml";
}

std::string router_arguments(const std::string& folder, const std::string& more = "") {
  return "train " + config("router") + " --set model.path=" + tiny_backbone() +
         " --set output.dir=" + folder + " " + more;
}

struct Layout {
  int ranks, tensor;
};

TEST(Layout, RouterCurveIsTheSameOnAnyLayout) {
  const Scratch one;
  ASSERT_EQ(elastron(0, router_arguments(one.path())).code, 0);
  const auto golden = metrics(one.path());
  ASSERT_EQ(golden.size(), 50u);
  // The gates do move: a constant curve would prove nothing.
  EXPECT_GT(std::abs(golden.at(50)["msr"].get<double>() - golden.at(1)["msr"].get<double>()), 0.01);
  for (const Layout l : {Layout{2, 1}, {2, 2}, {4, 2}, {4, 4}, {8, 2}, {8, 8}, {4, 1}}) {
    const Scratch other;
    const auto run = elastron(
        l.ranks,
        router_arguments(other.path(), "--set parallel.tensor=" + std::to_string(l.tensor)));
    ASSERT_EQ(run.code, 0) << run.err;
    expect_same_curve(golden, metrics(other.path()), 1e-5,
                      std::to_string(l.ranks) + " ranks, tensor " + std::to_string(l.tensor));
  }
}

TEST(Layout, WholeRowsBetweenTheLinearsToo) {
  const std::string steps = "--set train.steps=12 ";
  const Scratch one;
  ASSERT_EQ(elastron(0, router_arguments(one.path(), steps)).code, 0);
  for (const std::string sequence : {"true", "false"}) {
    const Scratch other;
    const auto run = elastron(4, router_arguments(other.path(), steps +
                                                                    "--set parallel.tensor=4 "
                                                                    "--set parallel.sequence=" +
                                                                    sequence));
    ASSERT_EQ(run.code, 0) << run.err;
    expect_same_curve(metrics(one.path()), metrics(other.path()), 1e-5, sequence);
  }
}

// The curve of one rank on all the layouts. arguments(folder, tensor): of the run.
template <class F>
void expect_any_layout(const F& arguments, const std::vector<Layout>& layouts) {
  const Scratch one;
  ASSERT_EQ(elastron(0, arguments(one.path(), 1)).code, 0);
  for (const Layout l : layouts) {
    const Scratch other;
    const auto run = elastron(l.ranks, arguments(other.path(), l.tensor));
    ASSERT_EQ(run.code, 0) << run.err;
    expect_same_curve(metrics(one.path()), metrics(other.path()), 1e-5,
                      std::to_string(l.ranks) + " ranks, tensor " + std::to_string(l.tensor));
  }
}

TEST(Layout, RouterOfALlamaBackboneToo) {
  const auto arguments = [](const std::string& folder, int tensor) {
    return "train " + config("router") +
           " --set train.steps=12 --set model.path=" + tiny_backbone("llama") +
           " --set output.dir=" + folder + " --set parallel.tensor=" + std::to_string(tensor);
  };
  expect_any_layout(arguments, {{2, 1}, {2, 2}, {4, 2}});
}

TEST(Layout, PretrainingCurveIsTheSameOnAnyLayout) {
  const auto arguments = [](const std::string& folder, int tensor) {
    return "train " + config("pretrain") + " --set model.path=" + tiny_shapes() +
           " --set output.dir=" + folder + " --set parallel.tensor=" + std::to_string(tensor);
  };
  expect_any_layout(arguments, {{2, 2}, {4, 2}, {2, 1}});
}

// Packs with unequal numbers of documents and of tasks: how many are computed at a time, and by
// whom, changes neither noise nor objective.
TEST(Layout, MicroBatchesChangeNothing) {
  const std::string packs =
      "--set train.steps=8 --set train.global_batch=24 --set data.synthetic.lengths=[64,80,190] ";
  for (const std::string reg : {"true", "false"}) {
    const std::string common = packs + "--set router.reg.enabled=" + reg + " ";
    const Scratch one;
    const auto golden = elastron(0, router_arguments(one.path(), common));
    ASSERT_EQ(golden.code, 0) << golden.err;
    struct {
      int ranks, micro_batch;
    } const cases[] = {{0, 2}, {0, 8}, {0, 24}, {2, 3}, {4, 2}};
    for (const auto& c : cases) {
      const Scratch other;
      const std::string size = "--set train.micro_batch=" + std::to_string(c.micro_batch);
      const auto run = elastron(c.ranks, router_arguments(other.path(), common + size));
      ASSERT_EQ(run.code, 0) << run.err;
      expect_same_curve(metrics(one.path()), metrics(other.path()), 1e-5,
                        std::to_string(c.ranks) + " ranks, " + size + ", reg " + reg);
    }
  }
}

TEST(Layout, MicroBatchesOfRandomGatesChangeNothing) {
  const auto arguments = [](const std::string& folder, int micro_batch) {
    return "train " + config("pretrain") + " --set model.path=" + tiny_shapes() +
           " --set output.dir=" + folder + " --set train.random_gates.share=0.5 " +
           "--set train.steps=6 --set train.global_batch=8 --set train.micro_batch=" +
           std::to_string(micro_batch);
  };
  const Scratch one;
  ASSERT_EQ(elastron(0, arguments(one.path(), 1)).code, 0);
  EXPECT_GT(metrics(one.path()).at(1)["msr"].get<double>(), 0.0);
  for (const int micro_batch : {2, 8}) {
    const Scratch other;
    const auto run = elastron(0, arguments(other.path(), micro_batch));
    ASSERT_EQ(run.code, 0) << run.err;
    expect_same_curve(metrics(one.path()), metrics(other.path()), 1e-5,
                      "micro_batch " + std::to_string(micro_batch));
  }
}

TEST(Layout, GradientAccumulationAndBucketsChangeNothing) {
  const Scratch one, small;
  ASSERT_EQ(elastron(0, router_arguments(one.path(), "--set train.steps=8")).code, 0);
  const auto run = elastron(
      2, router_arguments(small.path(), "--set train.steps=8 --set parallel.bucket_bytes=64"));
  ASSERT_EQ(run.code, 0) << run.err;
  expect_same_curve(metrics(one.path()), metrics(small.path()), 1e-5, "small buckets");
}

// Who computes a micro batch changes the ranks' load, not the curve.
TEST(Layout, PacksAreDealtByWhatTheyCost) {
  const std::string lengths =
      "--set train.steps=6 --set train.global_batch=16 --set data.synthetic.lengths=[64,100,180] ";
  const Scratch one;
  ASSERT_EQ(elastron(0, router_arguments(one.path(), lengths)).code, 0);
  std::map<std::string, double> mean;
  for (const std::string balance : {"cost", "none"}) {
    const Scratch other;
    const auto run =
        elastron(4, router_arguments(other.path(), lengths + "--set parallel.balance=" + balance));
    ASSERT_EQ(run.code, 0) << run.err;
    const auto curve = metrics(other.path());
    expect_same_curve(metrics(one.path()), curve, 1e-5, balance);
    for (const auto& [step, m] : curve) {
      mean[balance] += m["predicted_imbalance"].get<double>() / double(curve.size());
      EXPECT_GE(m["imbalance"].get<double>(), 1.0);
    }
  }
  EXPECT_GE(mean["cost"], 1.0);
  EXPECT_LT((mean["cost"] - 1) * 3, mean["none"] - 1);
}

TEST(Layout, RecomputeModesGiveTheSameCurve) {
  const Scratch none;
  ASSERT_EQ(elastron(0, router_arguments(none.path(), "--set train.steps=8")).code, 0);
  for (const char* mode : {"selective", "layer"}) {
    const Scratch other;
    const auto run =
        elastron(0, router_arguments(other.path(), std::string("--set train.steps=8 --set "
                                                               "train.recompute=") +
                                                       mode));
    ASSERT_EQ(run.code, 0) << run.err;
    // The same operations on the same numbers: the same bits.
    expect_same_curve(metrics(none.path()), metrics(other.path()), 0, mode);
  }
}

// Nine steps at once on two ranks, and in two parts on each of `layouts`.
void expect_resume(const std::vector<Layout>& layouts, const std::string& more) {
  const Scratch whole;
  const std::string steps = "--set train.steps=9 " + more;
  ASSERT_EQ(elastron(2, router_arguments(whole.path(), steps)).code, 0);
  for (const Layout l : layouts) {
    const Scratch parts;
    // What a run that was stopped after step 4 leaves: later checkpoints never came to be.
    const auto first =
        elastron(2, router_arguments(parts.path(),
                                     steps + " --set checkpoint.every=4 --set checkpoint.keep=9"));
    ASSERT_EQ(first.code, 0) << first.err;
    for (const char* file : {"/checkpoints/step-00000009.h5", "/checkpoints/step-00000008.h5"}) {
      std::filesystem::remove(parts.path() + file);
    }
    const auto second = elastron(
        l.ranks, router_arguments(parts.path(),
                                  steps + " --set parallel.tensor=" + std::to_string(l.tensor)));
    ASSERT_EQ(second.code, 0) << second.err;
    EXPECT_NE(second.err.find("resumed from"), std::string::npos) << second.err;
    const bool same = l.ranks == 2 && l.tensor == 1;
    expect_same_curve(metrics(whole.path()), metrics(parts.path()), same ? 0 : 1e-5,
                      std::to_string(l.ranks) + " ranks");
    if (!same) continue;
    const std::string last = "/checkpoints/step-00000009.h5";
    EXPECT_EQ(contents(whole.path() + last), contents(parts.path() + last));
  }
}

TEST(Resume, IsExactOnTheSameLayoutAndCloseOnAnother) {
  expect_resume({{2, 1}, {4, 2}, {0, 1}}, "");
}

// Task embedding, learned temperature and the running mean of labels are part of a checkpoint.
const std::string kReferenceOptions =
    "--set router.task_embedding=true --set router.tau_schedule=learned "
    "--set router.tau.init=0.7 "
    "--set train.loss.norm=token_scaled --set train.warmup_ratio=0";

TEST(Resume, HoldsWithTheOptionsOfTheReferenceCode) {
  expect_resume({{2, 1}, {4, 2}}, kReferenceOptions);
}

TEST(ReferenceOptions, TokenScaledLossDividesByTheMeanSoFar) {
  // A learning rate of zero: every step sees the same weights.
  const std::string still =
      "--set train.steps=6 --set train.lr.router=0 --set train.lr.lambda=0 "
      "--set train.weight_decay=0 --set train.loss.norm=";
  const Scratch global, scaled;
  ASSERT_EQ(elastron(0, router_arguments(global.path(), still + "global")).code, 0);
  ASSERT_EQ(elastron(2, router_arguments(scaled.path(), still + "token_scaled")).code, 0);
  const auto a = metrics(global.path()), b = metrics(scaled.path());
  double seen = 0;
  bool differs = false;
  for (int64_t step = 1; step <= 6; ++step) {
    const double labels = a.at(step)["labels"];
    seen += labels;
    const double want = a.at(step)["lm_loss"].get<double>() * labels / (seen / double(step));
    EXPECT_NEAR(b.at(step)["lm_loss"].get<double>(), want, 1e-5 * want) << step;
    differs |= std::abs(labels - seen / double(step)) > 1;
  }
  EXPECT_TRUE(differs);  // or nothing was tested
}

TEST(ReferenceOptions, LearnedTemperatureMoves) {
  const Scratch run;
  ASSERT_EQ(
      elastron(0, router_arguments(run.path(), "--set train.steps=30 " + kReferenceOptions)).code,
      0);
  const auto lines = metrics(run.path());
  EXPECT_NEAR(lines.at(1)["tau"].get<double>(), 0.7, 1e-6);
  double farthest = 0;  // it may turn round on its way
  for (const auto& [step, line] : lines) {
    const double tau = line["tau"];
    farthest = std::max(farthest, std::abs(tau - 0.7));
    EXPECT_GE(tau, 0.3);
    EXPECT_LE(tau, 1.0);
  }
  EXPECT_GT(farthest, 1e-3);  // more than one update can do
}

TEST(Best, NamesTheLowestEvaluationAndIsKept) {
  const Scratch run;
  const std::string arguments =
      router_arguments(run.path(),
                       "--set train.steps=12 --set eval.every=3 --set checkpoint.every=2 "
                       "--set train.lr.router=0.3 --set train.schedule=constant");
  ASSERT_EQ(elastron(0, arguments).code, 0);
  double lowest = 1e9;
  int64_t step = -1;
  std::ifstream lines(run / "metrics.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const auto object = nlohmann::json::parse(line);
    if (!object.contains("eval_loss") || object["eval_loss"] >= lowest) continue;
    lowest = object["eval_loss"];
    step = object["step"];
  }
  const std::string name = read_text(run / "checkpoints/best");
  char expected[32];
  std::snprintf(expected, sizeof expected, "step-%08ld.h5\n", long(step));
  EXPECT_EQ(name, expected);
  const std::string best = run / "checkpoints/best";
  EXPECT_EQ(elastron(0, "inspect " + best).code, 0);
  // Lost in a crash: it is named again.
  std::filesystem::remove(best);
  ASSERT_EQ(elastron(0, arguments).code, 0);
  EXPECT_EQ(read_text(best), expected);
}

// That it stays what it is in memory is tests/train/frozen_weights_test.cpp's.
TEST(Frozen, BackboneIsNotInCheckpoints) {
  const Scratch run;
  ASSERT_EQ(elastron(2, router_arguments(run.path(), "--set train.steps=4")).code, 0);
  EXPECT_EQ(contents(run.path()).dump().find("model.layers"), std::string::npos);
}

}  // namespace
}  // namespace elastron::test
