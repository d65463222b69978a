// `plan`, and `train` on what cannot fit, through the real program.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

std::string config(const std::string& more) {
  return std::string(ELASTRON_SOURCE_DIR) +
         "/tests/launch/router.yaml --set model.path=" + tiny_backbone() + " " + more;
}

TEST(Plan, AFileThatCannotBeWrittenIsSaidAtOnce) {
  const auto run = elastron(0, "plan " + config("--json /nowhere/plan.json"));
  expect_error(run, 3, {"/nowhere"});
  EXPECT_EQ(run.out, "");
}

TEST(Plan, RanksLayoutsOfManyDevices) {
  const Scratch scratch;
  const std::string file = scratch / "plan.json";
  const auto run = elastron(0, "plan " + config("--device h100 --ranks 8 --json " + file));
  ASSERT_EQ(run.code, 0) << run.err;
  for (const char* part : {"planned peak", "time of a step", "layouts of 8 ranks", "1024"}) {
    EXPECT_NE(run.out.find(part), std::string::npos) << part << "\n" << run.out;
  }
  for (const char* column : {"launches", "host waits", "copies"}) {
    EXPECT_NE(run.out.find(column), std::string::npos) << column << "\n" << run.out;
  }
  // One row is the configured layout.
  EXPECT_NE(run.out.find("\n* 8 x 1 x 1 "), std::string::npos) << run.out;
  const auto plan = nlohmann::json::parse(read_text(file));
  ASSERT_GT(plan["layouts"].size(), 4u);
  double before = plan["layouts"][0]["tokens_per_second"].get<double>();
  for (const auto& l : plan["layouts"]) {
    const int ranks = l["data"].get<int>() * l["context"].get<int>() * l["tensor"].get<int>();
    EXPECT_EQ(ranks, 8);
    EXPECT_TRUE(l["fits"].get<bool>());
    EXPECT_LE(l["tokens_per_second"].get<double>(), before);
    before = l["tokens_per_second"].get<double>();
    // A layer's calls, forward and backward, are a part of its micro batch's.
    const auto &layer = l["layer_calls"], &whole = l["micro_batch_calls"];
    EXPECT_GT(layer["launches"].get<double>(), 20);
    EXPECT_GT(whole["launches"].get<double>(), layer["launches"].get<double>());
    EXPECT_EQ(layer["host_waits"].get<double>(), 0);
    EXPECT_GT(whole["host_waits"].get<double>(), 0);
  }
}

TEST(Plan, SplitsPairsOfRewardModels) {
  const Scratch scratch;
  const std::string file = scratch / "plan.json";
  const std::string reward = std::string(ELASTRON_SOURCE_DIR) +
                             "/tests/launch/reward.yaml --set model.path=" + tiny_backbone();
  const auto run =
      elastron(0, "plan " + reward + " --ranks 8 --set train.global_batch=16 --json " + file);
  ASSERT_EQ(run.code, 0) << run.err;
  const auto plan = nlohmann::json::parse(read_text(file));
  int most = 1;
  for (const auto& l : plan["layouts"]) most = std::max(most, l["context"].get<int>());
  // 400 tokens have seven blocks.
  EXPECT_EQ(most, 4);
  expect_error(elastron(0, "plan " + reward + " --ranks 8"), 2,
               {"data 8", "4 micro batches", "these go: 4 x 1 x 2, 4 x 2 x 1, 2 x "});
  expect_error(elastron(0, "plan " + reward + " --ranks 8 --set parallel.context=8"), 2,
               {"parallel.context", "set it to 7 or less"});
}

// Before a model is there: its shapes ship, and so do the devices, wherever the program is called.
TEST(Plan, NeedsNoModelFolder) {
  const Scratch scratch;
  const std::string source = ELASTRON_SOURCE_DIR;
  for (const char* name : {"qwen3-4b", "qwen3-8b", "qwen3-8b-reward", "llama3.1-8b"}) {
    const auto run =
        elastron(0, "plan " + source + "/configs/" + name + ".yaml --device h200 --ranks 8",
                 "cd " + scratch.path() + " &&");
    ASSERT_EQ(run.code, 0) << name << run.err;
    EXPECT_NE(run.out.find("shapes of"), std::string::npos) << run.out;
    EXPECT_NE(run.out.find("planned peak"), std::string::npos) << run.out;
    // Each covers its documents, by itself or by the rope scaling that is set.
    EXPECT_EQ(run.err.find("positions cover"), run.err.npos) << run.err;
  }
  // config.json alone.
  std::filesystem::create_directory(scratch / "shapes");
  std::filesystem::copy(tiny_backbone() + "/config.json", scratch / "shapes/config.json");
  const auto run = elastron(0, "plan " + config("--set model.path=" + (scratch / "shapes")));
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(run.out.find("shapes of"), std::string::npos) << run.out;
  expect_error(elastron(0, "plan " + source +
                               "/configs/qwen3-8b.yaml --set model.path=" + (scratch / "Qwen3-9B")),
               3, {"no config.json", "Qwen3-9B", "Qwen3-8B"});
}

// Without --ranks: of one machine as many as share the micro batches of a step.
TEST(Plan, TakesRanksThatGo) {
  const std::string tiny = std::string(ELASTRON_SOURCE_DIR) + "/configs/tiny/";
  const std::string shapes = " --set model.path=" + tiny_backbone();
  for (const auto& [name, layout] : {std::pair{"reward", "data 2 x context 1 x tensor 1"},
                                     {"pretrain", "data 1 x context 1 x tensor 1"},
                                     {"router", "data 8 x context 1 x tensor 1"}}) {
    const auto run = elastron(0, "plan " + tiny + name + ".yaml" + shapes);
    ASSERT_EQ(run.code, 0) << name << run.err;
    EXPECT_NE(run.out.find(layout), std::string::npos) << run.out;
    EXPECT_EQ(run.out.find("of the 8 devices") == run.out.npos, std::string(name) == "router")
        << run.out;
  }
  const auto split = elastron(0, "plan " + tiny + "reward.yaml --set parallel.context=3" + shapes);
  ASSERT_EQ(split.code, 0) << split.err;
  EXPECT_NE(split.out.find("data 2 x context 3 x tensor 1"), std::string::npos) << split.out;
  // Asked for, so many it must be.
  expect_error(elastron(0, "plan " + tiny + "pretrain.yaml --ranks 2" + shapes), 2,
               {"data 2 x context 1", "1 micro batch", "these go: 1 x ", "train.global_batch"});
}

TEST(Plan, SaysWhatIsWrong) {
  expect_error(elastron(0, "plan " + config("--device h20")), 2, {"'h20'", "did you mean h200"});
  expect_error(elastron(0, "plan " + config("--ranks 3 --set parallel.tensor=3")), 2,
               {"tensor 3", "kv heads"});
}

TEST(Train, RefusesWhatCannotFit) {
  const Scratch scratch;
  const std::string more =
      "--set data.max_tokens=16777216 --set train.global_batch=64 --set train.micro_batch=64 "
      "--set output.dir=" +
      (scratch / "run") + " ";
  expect_error(elastron(0, "train " + config(more), "timeout 10"), 2,
               {"a rank needs", "GiB", "train.recompute: layer", "train.memory_check: false"});
  EXPECT_FALSE(std::filesystem::exists(scratch / "run"));
}

// A backbone in the proportions of real ones, where small things do not dominate.
std::string wide_backbone(const Scratch& scratch, int64_t mlp) {
  const std::string shapes = scratch / "shapes", folder = scratch / "pretrained";
  std::filesystem::copy(tiny_shapes(), shapes);
  auto config = nlohmann::json::parse(read_text(shapes + "/config.json"));
  config["hidden_size"] = 256;
  config["intermediate_size"] = mlp;
  config["num_hidden_layers"] = 4;
  config["num_attention_heads"] = 8;
  config["num_key_value_heads"] = 4;
  config["head_dim"] = 32;
  config["max_position_embeddings"] = 2048;
  write_text(shapes + "/config.json", config.dump());
  const auto made = elastron(0, "train " + std::string(ELASTRON_SOURCE_DIR) +
                                    "/tests/launch/pretrain.yaml --set train.steps=1 --set "
                                    "model.path=" +
                                    shapes + " --set output.dir=" + folder);
  EXPECT_EQ(made.code, 0) << made.err;
  return folder + "/model";
}

TEST(Train, PeakIsAsPlanned) {
  struct Case {
    int ranks;
    std::string more;
    bool narrow_mlp = false;
  };
  const Scratch backbone, narrow;
  const std::string of_mlp = wide_backbone(backbone, 768), of_attention = wide_backbone(narrow, 96);
  for (const Case& c :
       {Case{0, "--set train.recompute=none"}, Case{0, "--set train.recompute=selective"},
        Case{0, "--set train.recompute=layer"},
        Case{2, "--set train.recompute=none --set parallel.context=2"},
        Case{2, "--set train.recompute=layer --set parallel.context=2"},
        Case{2, "--set train.recompute=none --set parallel.tensor=2 --set parallel.sequence=false"},
        Case{2, "--set train.recompute=none --set parallel.tensor=2 --set parallel.sequence=true"},
        Case{2, "--set train.recompute=layer --set parallel.tensor=2 --set parallel.sequence=true"},
        Case{2,
             "--set train.recompute=selective --set parallel.context=2 --set "
             "parallel.context_kind=ulysses"},
        // What attention takes decides the peak.
        Case{2, "--set train.recompute=none --set parallel.context=2", true},
        Case{2, "--set train.recompute=layer --set parallel.context=2", true}}) {
    const Scratch scratch;
    const auto run = elastron(
        c.ranks, "train " + config("--set train.steps=2 --set train.global_batch=1 --set "
                                   "data.max_tokens=2048 --set data.synthetic.lengths=[2030] "
                                   "--set data.label_mode=all --set router.ssa.local=128 --set "
                                   "model.path=" +
                                   (c.narrow_mlp ? of_attention : of_mlp) +
                                   " --set output.dir=" + scratch.path() + " " + c.more));
    ASSERT_EQ(run.code, 0) << run.err;
    const std::string log = read_text(scratch / "log.txt"), plan = "plan for 2048 tokens: ";
    const size_t at = log.find(plan);
    ASSERT_NE(at, std::string::npos) << log;
    const double planned = std::stod(log.substr(at + plan.size())) * (1 << 20);
    const double measured = metrics(scratch.path()).at(2)["peak_memory_bytes"].get<double>();
    EXPECT_NEAR(measured / planned, 1.0, 0.05) << c.more << log.substr(at, 120);
  }
}

}  // namespace
}  // namespace elastron::test
