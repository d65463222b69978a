// Routers that decide for a layer through the real program: the same curve on any layout and with
// any recomputation, exact resume, exchange, evaluation, a cache of one kind per layer; and that they
// learn their target (docs/method.md, Routing by layer).
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "tests/launch/evaluations.h"
#include "tests/launch/program.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;

// Gates that move from the first step on.
const std::string kFlux = "--set router.preset=flux --set router.init=normal ";
const std::string kLayersOfKeys = "--set router.granularity=layer ";
const std::string kHeadsOfQueries = "--set router.input=query ";

std::string arguments(const std::string& folder, const std::string& more) {
  return "train " + std::string(ELASTRON_SOURCE_DIR) +
         "/tests/launch/router.yaml --set model.path=" + tiny_backbone() +
         " --set output.dir=" + folder + " " + more;
}

struct Layout {
  int ranks;
  std::string settings;
};

const std::string kTensor = " --set parallel.tensor=", kContext = " --set parallel.context=",
                  kUlysses = " --set parallel.context_kind=ulysses";

void expect_the_same_curve(const std::string& everywhere, const std::vector<Layout>& layouts) {
  const Scratch one;
  const auto first = elastron(0, arguments(one.path(), everywhere));
  ASSERT_EQ(first.code, 0) << first.err;
  const auto golden = metrics(one.path());
  double lowest = 1, highest = 0;
  for (const auto& [step, line] : golden) {
    lowest = std::min(lowest, line["msr"].get<double>());
    highest = std::max(highest, line["msr"].get<double>());
  }
  EXPECT_GT(highest - lowest, 0.05);  // gates do move
  for (const Layout& l : layouts) {
    const Scratch other;
    const auto run = elastron(l.ranks, arguments(other.path(), everywhere + l.settings));
    ASSERT_EQ(run.code, 0) << run.err;
    expect_same_curve(golden, metrics(other.path()), 1e-5,
                      std::to_string(l.ranks) + " ranks" + l.settings);
  }
}

TEST(LayerRouter, CurveIsTheSameOnAnyLayout) {
  expect_the_same_curve(kFlux + "--set train.steps=12",
                        {{2, ""},
                         {2, kTensor + "2"},
                         {4, kTensor + "4"},
                         {4, kTensor + "2"},
                         {2, kTensor + "2 --set parallel.sequence=false"},
                         {0, " --set train.micro_batch=4"},
                         {2, " --set train.micro_batch=4" + kTensor + "2"}});
}

TEST(LayerRouter, KeysOfALayerAndQueriesOfAHead) {
  for (const std::string& kind : {kLayersOfKeys, kHeadsOfQueries}) {
    expect_the_same_curve(kind + "--set train.steps=10",
                          {{2, ""}, {2, kTensor + "2"}, {4, kTensor + "4"}});
  }
}

TEST(LayerRouter, BackbonesWithoutQueryNormToo) {
  expect_the_same_curve(kFlux + "--set train.steps=8 --set model.path=" + tiny_backbone("llama"),
                        {{2, kTensor + "2"}});
}

// Documents of four to eight blocks, and some of one or two.
TEST(LayerRouter, CurveIsTheSameOnContextRanks) {
  expect_the_same_curve(
      kFlux +
          "--set train.steps=8 --set train.global_batch=4 --set data.max_tokens=1000 "
          "--set data.synthetic.lengths=[70,300,450] --set router.ssa.sink=64 "
          "--set router.ssa.local=64 --set router.ssa.block=64",
      {{2, kContext + "2"},
       {4, kContext + "4"},
       {4, kContext + "2" + kTensor + "2"},
       {2, kContext + "2" + kUlysses},
       {4, kContext + "2" + kTensor + "2" + kUlysses}});
}

TEST(LayerRouter, RecomputeModesGiveTheSameCurve) {
  const Scratch none;
  ASSERT_EQ(elastron(0, arguments(none.path(), kFlux + "--set train.steps=8")).code, 0);
  for (const char* mode : {"selective", "layer"}) {
    const Scratch other;
    const auto run = elastron(
        0, arguments(other.path(), kFlux + "--set train.steps=8 --set train.recompute=" + mode));
    ASSERT_EQ(run.code, 0) << run.err;
    // The same operations on the same numbers: the same bits.
    expect_same_curve(metrics(none.path()), metrics(other.path()), 0, mode);
  }
}

TEST(LayerRouter, ResumeIsExactOnTheSameLayoutAndCloseOnAnother) {
  const std::string settings =
      kFlux + "--set train.steps=9 --set checkpoint.every=4 --set checkpoint.keep=9";
  const std::string last = "/checkpoints/step-00000009.h5";
  const Scratch whole;
  ASSERT_EQ(elastron(2, arguments(whole.path(), settings)).code, 0);
  for (const Layout& l : {Layout{2, ""}, {4, kTensor + "2"}, {2, kTensor + "2"}, {0, ""}}) {
    const Scratch parts;
    fs::copy(whole.path(), parts.path(), fs::copy_options::recursive);
    // What a run that was stopped after step 4 leaves.
    fs::remove(parts.path() + last);
    fs::remove(parts.path() + "/checkpoints/step-00000008.h5");
    write_text(parts.path() + "/checkpoints/latest", "step-00000004.h5\n");
    const auto run = elastron(l.ranks, arguments(parts.path(), settings + l.settings));
    ASSERT_EQ(run.code, 0) << run.err;
    EXPECT_NE(run.err.find("step-00000004.h5 at step 4"), std::string::npos) << run.err;
    const bool same = l.ranks == 2 && l.settings.empty();
    expect_same_curve(metrics(whole.path()), metrics(parts.path()), same ? 0 : 1e-5,
                      std::to_string(l.ranks) + " ranks" + l.settings);
    if (same) {
      EXPECT_EQ(contents(whole.path() + last), contents(parts.path() + last));
    }
  }
}

// What is settled is written: a checkpoint needs no preset, and a written key has won over it.
TEST(LayerRouter, CheckpointsHaveResolvedSettings) {
  const Scratch run;
  ASSERT_EQ(elastron(0, arguments(run.path(), "--set router.preset=flux --set train.steps=2")).code,
            0);
  const std::string text = read_text(run.path() + "/config.yaml");
  for (const char* line : {"preset: flux", "granularity: layer", "input: query", "init: full",
                           "task_widths: [8, 2]", "hidden_mult: none", "t_sen: 0.45"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
  }
  EXPECT_NE(text.find("pool_budget: 16"), std::string::npos) << text;  // router.yaml's
  const auto line = metrics(run.path()).at(1);
  // Almost all is full as it begins: P(FA) is 0.989.
  EXPECT_LT(line["msr"].get<double>(), 0.05);
}

// A layer's entropy is that of all its heads, on whatever ranks these are.
TEST(LayerRouter, EntropyIsTheSameOnAnyLayout) {
  const Scratch one, two;
  const std::string steps = kFlux + "--set train.steps=2";
  ASSERT_EQ(elastron(0, arguments(one.path(), steps)).code, 0);
  ASSERT_EQ(elastron(2, arguments(two.path(), steps + kTensor + "2")).code, 0);
  const auto a = metrics(one.path()).at(1)["entropy_by_task"],
             b = metrics(two.path()).at(1)["entropy_by_task"];
  ASSERT_FALSE(a.empty());
  for (const auto& [task, value] : a.items()) {
    const double entropy = value;
    EXPECT_NEAR(entropy, b[task].get<double>(), 1e-5) << task;
    EXPECT_GT(entropy, 0.1) << task;
    EXPECT_LE(entropy, std::log(2.0)) << task;
  }
}

// Two layers are 0, 1/2 or 1 sparse: this target is one that documents can have.
TEST(LayerRouter, LearnsItsTarget) {
  const Scratch run;
  ASSERT_EQ(elastron(0, arguments(run.path(),
                                  "--set router.preset=flux --set router.reg.t_sen=0.5 "
                                  "--set router.reg.t_rob=0.5 --set train.steps=150 "
                                  "--set train.lr.router=1.0e-2 --set train.lr.lambda=5.0e-2"))
                .code,
            0);
  const auto lines = metrics(run.path());
  EXPECT_LT(lines.at(1)["msr"].get<double>(), 0.1);  // almost all full
  double last = 0;
  for (int64_t step = 121; step <= 150; ++step) last += lines.at(step)["msr"].get<double>() / 30;
  EXPECT_NEAR(last, 0.5, 0.05);
}

nlohmann::json evaluation(const std::string& run, const std::string& checkpoint,
                          const std::string& more = "", int ranks = 0) {
  const Scratch out;
  const auto o = elastron(ranks, "eval " + run + "/config.yaml --checkpoint " + checkpoint +
                                     " --out " + (out / "eval.json") + " " + more);
  EXPECT_EQ(o.code, 0) << o.err;
  return nlohmann::json::parse(read_text(out / "eval.json"));
}

TEST(LayerRouter, TravelsUnderThePublishedNames) {
  const Scratch s;
  const std::string run = s / "run";
  ASSERT_EQ(elastron(0, arguments(run, kFlux + "--set train.steps=3")).code, 0);
  const auto exported = [&](const std::string& from, const std::string& to,
                            const std::string& more = "") {
    return elastron(0, "export --checkpoint " + from + " --out " + to + " " + more);
  };
  const Outcome hf = exported(run, s / "hf", "--format hf-reference");
  ASSERT_EQ(hf.code, 0) << hf.err;
  EXPECT_EQ(hf.err.find("pools"), std::string::npos) << hf.err;  // pool_size says it
  EXPECT_EQ(hf.err.find("widths"), std::string::npos) << hf.err;
  ASSERT_EQ(exported(run, s / "own").code, 0);
  const auto config = nlohmann::json::parse(read_text(s / "hf/config.json"));
  EXPECT_EQ(config["pool_size"], 16);
  for (const char* from : {"own", "hf"}) {
    const std::string imported = s / (std::string("imported_") + from);
    const Outcome made = elastron(
        0, "import --from " + (s / from) + " --model " + tiny_backbone() + " --out " + imported);
    ASSERT_EQ(made.code, 0) << made.err;
    ASSERT_EQ(exported(imported, s / (std::string("again_") + from)).code, 0);
    for (const char* file : {"/router.safetensors", "/router.json"}) {
      EXPECT_EQ(read_text(s / "own" + file), read_text(s / (std::string("again_") + from) + file));
    }
    auto of_imported = evaluation(run, imported), of_run = evaluation(run, run);
    EXPECT_NE(of_imported["made_by"]["checkpoint"], of_run["made_by"]["checkpoint"]);
    for (auto* figures : {&of_imported, &of_run}) figures->erase("made_by");
    EXPECT_EQ(of_imported, of_run) << from;
  }
  // Without our settings the widths say whose router it is.
  auto bare = config;
  bare.erase("elastron_router");
  write_text(s / "hf/config.json", bare.dump());
  ASSERT_EQ(exported(s / "hf", s / "bare").code, 0);
  const auto read = nlohmann::json::parse(read_text(s / "bare/router.json"))["router"];
  EXPECT_EQ(read["granularity"], "layer");
  EXPECT_EQ(read["input"], "query");
  EXPECT_EQ(read["pool_budget"], 16);
  EXPECT_EQ(read_text(s / "bare/router.safetensors"), read_text(s / "own/router.safetensors"));
}

TEST(LayerRouter, IsEvaluatedBesideGatesOfLayers) {
  const Scratch run;
  ASSERT_EQ(elastron(0, arguments(run.path(), kFlux + "--set train.steps=6")).code, 0);
  const auto one = evaluation(run.path(), run.path()),
             four = evaluation(run.path(), run.path(), kTensor + "2", 4);
  for (const char* figure : {"loss", "msr", "esr_tiles"}) {
    EXPECT_NEAR(one["all"][figure].get<double>(), four["all"][figure].get<double>(), 1e-6)
        << figure;
  }
  expect_same_heads(one, four);
  const auto rows = evaluation(run.path(), run.path(), "--compare --set router.ssa.sink=8");
  ASSERT_EQ(rows.size(), 6u);
  // The model has two layers: each set of random gates is of whole layers.
  for (size_t i = 3; i < 6; ++i) {
    const double msr = rows[i]["all"]["msr"];
    EXPECT_TRUE(msr == 0 || msr == 0.5 || msr == 1) << msr;
  }
  const std::string gates = run.path() + "/gates.tsv";
  const auto forced = [&](const std::string& force) {
    return elastron(0, "eval " + run.path() + "/config.yaml --set router.force=" + force);
  };
  write_text(gates, "1 1 1 1 1 1 1 1\n0 0 0 0 0 0 0 0\n");
  EXPECT_EQ(forced("static:" + gates).code, 0);
  write_text(gates, "1 1 1 1 1 1 1 1\n0 0 0 1 0 0 0 0\n");
  expect_error(forced("static:" + gates), 3, {"heads of layer 1", "router.granularity"});
  expect_error(forced("scores:" + gates + ":0.5"), 2, {"scores order heads", "router.granularity"});
}

// Gates as the program prints them, a line per layer.
TEST(LayerRouter, GeneratesWithACacheOfOneKindPerLayer) {
  const Scratch run;
  ASSERT_EQ(elastron(0, arguments(run.path(), kFlux + "--set train.steps=4")).code, 0);
  const std::string gates = run.path() + "/gates.tsv";
  write_text(gates, "1 1 1 1 1 1 1 1\n0 0 0 0 0 0 0 0\n");
  std::string prompt = "n7";
  for (int i = 0; i < 60; ++i) prompt += " k3 v9 n1";
  const std::string start = "generate --model " + tiny_backbone() + " --router " + run.path() +
                            " --ignore-eos --max-tokens 12 --prompt '" + prompt + "' ";
  const auto by_router = elastron(0, start);
  ASSERT_EQ(by_router.code, 0) << by_router.err;
  int lines = 0;
  for (const char* line : {"\nFFFFFFFF\n", "\nssssssss\n"}) {
    lines += by_router.err.find(line) != std::string::npos ? 1 : 0;
  }
  EXPECT_GT(lines, 0) << by_router.err;
  EXPECT_EQ(elastron(2, start).out, by_router.out);
  // One of two layers keeps the sink and the window, 24 rows of each of its heads.
  const auto half = elastron(0, start + "--force static:" + gates);
  ASSERT_EQ(half.code, 0) << half.err;
  EXPECT_NE(half.err.find("FFFFFFFF\nssssssss\n"), std::string::npos) << half.err;
  expect_error(elastron(0, start + "--set router.preset=elastic"), 2, {"router.preset"});
}

TEST(LayerRouter, SettingsThatCannotWork) {
  const Scratch s;
  const auto refused = [&](const std::string& more, const std::vector<std::string>& fragments) {
    expect_error(elastron(0, arguments(s / "run", more + " --dry-run")), 2, fragments);
  };
  refused("--set router.kind=static-l0 " + kLayersOfKeys, {"static masks", "router.granularity"});
  refused("--set router.widths=[4]", {"router.widths", "two widths"});
  refused("--set router.task_widths=[0,1]", {"router.task_widths[0]", "an integer >= 1"});
  refused("--set router.hidden_mult=2 --set router.widths=[4,1] --set router.task_widths=[4,1]",
          {"router.hidden_mult", "remove it"});
  refused("--set router.preset=vortex", {"router.preset", "elastic or flux"});
}

}  // namespace
}  // namespace elastron::test
