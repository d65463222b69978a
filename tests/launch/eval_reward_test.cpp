// eval-reward, export and import of reward models through the real program: the same on any number
// of ranks and after interruptions, bad input.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/launch/reward_support.h"

namespace elastron::test {
namespace {

// The pairs of scores of two reports; -> how many rows both have.
int expect_same_scores(const std::string& one, const std::string& other, double tolerance) {
  std::istringstream a(read_text(one + "/rows.jsonl")), b(read_text(other + "/rows.jsonl"));
  int rows = 0;
  for (std::string x, y; std::getline(a, x) && std::getline(b, y); ++rows) {
    const auto u = nlohmann::json::parse(x), v = nlohmann::json::parse(y);
    for (const char* key : {"score_chosen", "score_rejected"}) {
      EXPECT_NEAR(u[key].get<double>(), v[key].get<double>(), tolerance) << key;
    }
  }
  return rows;
}

// A short run and benchmark files of made-up traces.
class EvalReward : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new Scratch;
    const auto run =
        elastron(0, arguments(*shared_ / "run", "--set train.trainable=[reward_head,lora,router]"));
    ASSERT_EQ(run.code, 0) << run.err;
    fs::create_directory(*shared_ / "data");
    for (const auto& [name, kinds] :
         {std::pair{"Sequential", "sequential-noise sequential-drop"}, {"Mixed", "mixed-drop"}}) {
      const auto made = elastron(0,
                                 "synthesize --pairs --form benchmark --lexicon coded --length "
                                 "128 160 --records 11 --kind " +
                                     std::string(kinds) + " --out " +
                                     (*shared_ / ("data/" + std::string(name) + ".jsonl")));
      ASSERT_EQ(made.code, 0) << made.err;
    }
  }
  static void TearDownTestSuite() { delete shared_; }

  static std::string folder(const std::string& name) { return *shared_ / name; }
  static Outcome evaluate(int ranks, const std::string& out, const std::string& more = "",
                          const std::string& prefix = "") {
    return elastron(ranks,
                    "eval-reward " + kConfig + " --set model.path=" + tiny_backbone() +
                        " --set train.trainable=[reward_head,lora,router] --checkpoint " +
                        folder("run") + " --data " + folder("data") + " --out " + out + " " + more,
                    prefix);
  }

  static Scratch* shared_;
};
Scratch* EvalReward::shared_ = nullptr;

TEST_F(EvalReward, IsTheSameOnAnyNumberOfDataRanks) {
  const Scratch one;
  const auto run = evaluate(0, one.path());
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_NE(run.out.find("Baselines: chance 0.500, longer wins"), std::string::npos) << run.out;
  const auto summary = nlohmann::json::parse(read_text(one / "summary.json"));
  EXPECT_EQ(summary.dump().find("NaN"), std::string::npos);
  const std::string golden = report(one.path());
  const std::string command = nlohmann::json::parse(read_text(one / "made_by.json"))["command"];
  ASSERT_TRUE(command.starts_with("elastron eval-reward ")) << command;
  ASSERT_EQ(elastron(0, command.substr(9)).code, 0) << command;
  EXPECT_EQ(golden, report(one.path()));
  for (const int ranks : {2, 3}) {
    const Scratch other;
    const auto again = evaluate(ranks, other.path());
    ASSERT_EQ(again.code, 0) << again.err;
    EXPECT_EQ(golden, report(other.path())) << ranks;
  }
  const Scratch split;
  ASSERT_EQ(evaluate(2, split.path(), "--set parallel.tensor=2").code, 0);
  EXPECT_EQ(expect_same_scores(one.path(), split.path(), 1e-4), 22);
  for (const std::string kind : {"gather", "ulysses"}) {
    const Scratch parts;
    const auto again =
        evaluate(2, parts.path(), "--set parallel.context=2 --set parallel.context_kind=" + kind);
    ASSERT_EQ(again.code, 0) << again.err;
    EXPECT_EQ(expect_same_scores(one.path(), parts.path(), 1e-4), 22) << kind;
  }
}

TEST_F(EvalReward, GoesOnWhereItStopped) {
  const Scratch whole, parts;
  ASSERT_EQ(evaluate(0, whole.path()).code, 0);
  fs::copy(whole / "rows.meta.json", parts / "rows.meta.json");
  const std::string rows = read_text(whole / "rows.jsonl");
  // Rows in the order in which they came, the last one torn.
  for (const size_t kept : {size_t(0), rows.size() / 3, rows.size() - 5}) {
    write_text(parts / "rows.jsonl", rows.substr(0, kept));
    const auto run = evaluate(2, parts.path());
    ASSERT_EQ(run.code, 0) << run.err;
    EXPECT_EQ(report(whole.path()), report(parts.path())) << kept;
  }
  expect_error(evaluate(2, parts.path(), "--limit 100"), 2, {"limit", "--out"});
  EXPECT_EQ(rows, read_text(parts / "rows.jsonl"));
}

// Whatever the configuration says: adapters of another scale, routers left out.
TEST_F(EvalReward, WhatAModelIsComesFromItsCheckpoint) {
  const Scratch one, other;
  ASSERT_EQ(evaluate(0, one.path()).code, 0);
  const auto run = evaluate(0, other.path(),
                            "--set train.lora.alpha=99 --set train.trainable=[reward_head] "
                            "--set router.ssa.local=64 --set reward.label_smoothing=0.2");
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(report(one.path()), report(other.path()));
}

TEST_F(EvalReward, StopsOnRequestAndGoesOn) {
  const Scratch whole, parts;
  ASSERT_EQ(evaluate(0, whole.path(), "--set eval.micro_batch=1").code, 0);
  // Sooner or later it is caught between two rows.
  int stopped = 0;
  for (const char* seconds : {"0.1", "0.15", "0.2", "0.25", "0.3", "0.35", "0.4", "0.6", "0.8"}) {
    const auto run = evaluate(0, parts.path(), "--set eval.micro_batch=1",
                              std::string("timeout -s USR1 ") + seconds);
    if (run.err.find("stopped on request") != run.err.npos) ++stopped;
  }
  EXPECT_GT(stopped, 0);
  ASSERT_EQ(evaluate(0, parts.path(), "--set eval.micro_batch=1").code, 0);
  EXPECT_EQ(report(whole.path()), report(parts.path()));
}

TEST_F(EvalReward, KilledAtAnyMoment) {
  const Scratch whole, parts;
  ASSERT_EQ(evaluate(0, whole.path()).code, 0);
  for (const char* seconds : {"0.15", "0.3", "0.5", "0.8"}) {
    evaluate(0, parts.path(), "", std::string("timeout -s KILL ") + seconds);
  }
  const auto run = evaluate(0, parts.path());
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(report(whole.path()), report(parts.path()));
}

TEST_F(EvalReward, ExportedModelScoresTheSame) {
  const Scratch trained, exported;
  ASSERT_EQ(evaluate(0, trained.path()).code, 0);
  const std::string model = exported / "model";
  const auto written =
      elastron(0, "export --format hf-reference --checkpoint " + folder("run") + " --out " + model);
  expect_error(elastron(0, "export --format hf-reference --checkpoint " + folder("run") +
                               " --model " + model + " --out " + model),
               2, {"that is the folder of the backbone", "--out"});
  ASSERT_EQ(written.code, 0) << written.err;
  const auto config = nlohmann::json::parse(read_text(model + "/config.json"));
  EXPECT_EQ(config["architectures"][0], "Qwen3ForSequenceClassification");
  EXPECT_EQ(config["num_labels"], 1);
  EXPECT_NE(config["pad_token_id"], config["eos_token_id"]);
  const auto run =
      elastron(2, "eval-reward " + kConfig + " --set model.path=" + model +
                      " --set train.trainable=[] --set reward.router=" + model + "/router --data " +
                      folder("data") + " --out " + (exported / "report"));
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(expect_same_scores(trained.path(), exported / "report", 1e-4), 22);
  // Apart: in the file form of peft.
  const auto adapter =
      elastron(2, "export --checkpoint " + folder("run") + " --out " + (exported / "adapter"));
  ASSERT_EQ(adapter.code, 0) << adapter.err;
  const auto peft = nlohmann::json::parse(read_text(exported / "adapter/adapter_config.json"));
  EXPECT_EQ(peft["task_type"], "SEQ_CLS");
  EXPECT_EQ(peft["modules_to_save"][0], "score");
  // Its base by the name that the run gave it, or by another.
  EXPECT_EQ(peft["base_model_name_or_path"], tiny_backbone());
  const auto named = elastron(0, "export --checkpoint " + folder("run") + " --model " + model +
                                     " --base-model Some/Model --out " + (exported / "named"));
  ASSERT_EQ(named.code, 0) << named.err;
  EXPECT_EQ(nlohmann::json::parse(
                read_text(exported / "named/adapter_config.json"))["base_model_name_or_path"],
            "Some/Model");
  EXPECT_TRUE(fs::exists(exported / "adapter/adapter_model.safetensors"));
  EXPECT_TRUE(fs::exists(exported / "adapter/router/router.safetensors"));
}

TEST_F(EvalReward, ImportedAdapterScoresTheSame) {
  const Scratch scratch;
  const auto import = [&](int ranks, const std::string& from, const std::string& out) {
    return elastron(ranks,
                    "import --from " + from + " --model " + tiny_backbone() + " --out " + out);
  };
  const auto score = [&](const std::string& more, const std::string& out) {
    const auto run = elastron(0, "eval-reward " + kConfig + " --set model.path=" + tiny_backbone() +
                                     " --data " + folder("data") + " --out " + out + " " + more);
    EXPECT_EQ(run.code, 0) << run.err;
  };
  const auto export_to = [&](const std::string& run, const std::string& out) {
    const auto written = elastron(0, "export --checkpoint " + run + " --out " + out);
    EXPECT_EQ(written.code, 0) << written.err;
  };

  // A head, adapters, and routers beside them; then without a head, of two kinds of layers only.
  const std::string adapter = scratch / "adapter";
  export_to(folder("run"), adapter);
  const auto imported = import(2, adapter, scratch / "imported");
  ASSERT_EQ(imported.code, 0) << imported.err;
  EXPECT_NE(imported.err.find("reward.router to " + adapter + "/router"), std::string::npos)
      << imported.err;
  ASSERT_EQ(evaluate(0, scratch / "before").code, 0);
  score("--set train.trainable=[reward_head,lora] --set reward.router=" + adapter +
            "/router --checkpoint " + (scratch / "imported"),
        scratch / "after");
  EXPECT_EQ(expect_same_scores(scratch / "before", scratch / "after", 0), 22);

  const std::string simpo =
      "--set train.trainable=[lora] --set reward.loss=simpo --set "
      "train.lora.targets=[q_proj,down_proj] ";
  ASSERT_EQ(elastron(0, arguments(scratch / "simpo", simpo)).code, 0);
  export_to(scratch / "simpo", scratch / "simpo-adapter");
  ASSERT_EQ(import(0, scratch / "simpo-adapter", scratch / "simpo-imported").code, 0);
  score(simpo + "--checkpoint " + (scratch / "simpo"), scratch / "simpo-before");
  score(simpo + "--checkpoint " + (scratch / "simpo-imported"), scratch / "simpo-after");
  // The imported one has blocks of another size: other sums.
  EXPECT_EQ(expect_same_scores(scratch / "simpo-before", scratch / "simpo-after", 1e-5), 22);

  // Training starts from it, and what was imported is exported as it was.
  const auto resumed =
      elastron(2, arguments(scratch / "on", simpo + "--set train.steps=1 --resume " +
                                                (scratch / "simpo-imported")));
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  for (const char* key : {"model.path is", "reward.loss is", "train.trainable is", "train.lora"}) {
    EXPECT_EQ(resumed.err.find(key), std::string::npos) << resumed.err;
  }
  export_to(scratch / "imported", scratch / "again");
  for (const char* name : {"/adapter_model.safetensors", "/adapter_config.json"}) {
    EXPECT_EQ(read_text(adapter + name), read_text((scratch / "again") + name)) << name;
  }

  // The factor of rank-stabilised adapters: alpha / sqrt(rank), rank 4.
  const auto settings = nlohmann::json::parse(read_text(adapter + "/adapter_config.json"));
  const auto with = [&](const std::string& key, const nlohmann::json& value) {
    auto changed = settings;
    changed[key] = value;
    write_text(adapter + "/adapter_config.json", changed.dump());
  };
  with("use_rslora", true);
  const auto stable = import(0, adapter, scratch / "stable");
  ASSERT_EQ(stable.code, 0) << stable.err;
  EXPECT_NE(stable.err.find("alpha: 16"), std::string::npos) << stable.err;

  const auto refused = [&](const std::vector<std::string>& fragments, int ranks = 0) {
    expect_error(import(ranks, adapter, scratch / "refused"), 3, fragments);
  };
  for (const auto& [key, value] :
       std::map<std::string, nlohmann::json>{{"peft_type", "IA3"},
                                             {"task_type", nullptr},
                                             {"r", 0},
                                             {"lora_alpha", "8"},
                                             {"target_modules", ".*_proj"},
                                             {"bias", "all"},
                                             {"use_dora", true},
                                             {"fan_in_fan_out", true},
                                             {"rank_pattern", {{"q_proj", 8}}},
                                             {"layers_to_transform", {0}},
                                             {"modules_to_save", {"embed_tokens"}},
                                             {"init_lora_weights", "pissa"},
                                             {"of_a_later\nversion", 1}}) {
    with(key, value);
    refused({"adapter_config.json", key.substr(0, 10)});
  }
  with("r", 8);
  refused({"adapter_model.safetensors", "misshapen", "[4, ", "in place of [8, "});
  with("target_modules", {"q_proj"});
  refused({"unexpected", "down_proj.lora_A.weight"});
  with("task_type", "CAUSAL_LM");
  refused({"modules_to_save"});
  write_text(adapter + "/adapter_config.json", settings.dump().substr(0, 40));
  refused({"adapter_config.json, line 1"});
  fs::remove(adapter + "/adapter_config.json");
  refused({"adapter_config.json"});
  // Another run's tensors: no head, and of two kinds of layers.
  with("bias", "none");
  fs::copy_file(scratch / "simpo-adapter/adapter_model.safetensors",
                adapter + "/adapter_model.safetensors", fs::copy_options::overwrite_existing);
  refused({"missing", "model.layers.0.mlp.gate_proj.lora_A.weight"}, 2);
  EXPECT_FALSE(fs::exists(scratch / "refused"));
  expect_error(import(2, scratch / "again", scratch / "imported"), 2, {"already has checkpoints"});
}

// The scalar head too.
TEST_F(EvalReward, ControlTokensInScoredRows) {
  const Scratch out;
  const auto row = [](const std::string& chosen) {
    return R"({"prompt": "hello find the key", "chosen": ")" + chosen +
           R"(", "rejected": "n3 n4 v2"})" + "\n";
  };
  write_text(out / "rows.jsonl", row("n1 n2 v1") + row("n1 <eos> v1"));
  const auto score = [&](const std::string& name, const std::string& more) {
    return elastron(0, "eval-reward " + kConfig + " --set model.path=" + tiny_backbone() +
                           " --checkpoint " + folder("run") + " --data " + (out / "rows.jsonl") +
                           " --out " + (out / name) + " " + more);
  };
  const auto text = score("text", "");
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.err.find("1 in 1 row, first " + (out / "rows.jsonl") + ":2; they are plain text"),
            std::string::npos)
      << text.err;
  expect_error(score("error", "--set data.control_tokens=error"), 3, {"'<eos>'", "rows.jsonl:2"});
  // Scores of one setting are not gone on with under the other.
  expect_error(score("text", "--set data.control_tokens=keep"), 2, {"--out"});
}

TEST_F(EvalReward, RealRowsOfTheBenchmark) {
  const std::string data = ELASTRON_TEST_FIXTURES "/memory_reward_bench";
  const Scratch out;
  const auto run =
      elastron(2, "eval-reward " + kConfig + " --set model.path=" + tiny_backbone() +
                      " --set train.trainable=[reward_head,lora,router] --limit 300 --checkpoint " +
                      folder("run") + " --data " + data + " --out " + out.path());
  ASSERT_EQ(run.code, 0) << run.err;
  const std::string csv = read_text(out / "results.csv");
  EXPECT_TRUE(
      csv.starts_with(",Task,S-Drop,P-Noise,Long-context_Reasoning,Mem0-MEM,"
                      "Multi-turn_Dialogue_Understanding,parallel,Long-form_Generation,Avg.\n"))
      << csv;
  std::istringstream rows(read_text(out / "rows.jsonl"));
  int count = 0, truncated = 0;
  for (std::string line; std::getline(rows, line); ++count) {
    truncated += nlohmann::json::parse(line)["truncated"].get<bool>() ? 1 : 0;
  }
  EXPECT_EQ(count, 5);
  EXPECT_GT(truncated, 0);
}

TEST_F(EvalReward, BadInput) {
  const Scratch out;
  expect_error(evaluate(2, out.path(), "--set model.path=" + tiny_backbone("llama")), 4,
               {"another backbone"});
  const auto run = [&](const std::string& more) {
    return elastron(2, "eval-reward " + kConfig + " --set model.path=" + tiny_backbone() +
                           " --out " + out.path() + " " + more);
  };
  expect_error(run("--data " + (out / "nowhere")), 2, {"nowhere"});
  expect_error(run("--data '" + (out / "no*.jsonl") + "'"), 3, {"no file matches", "--data: "});
  fs::create_directory(out / "empty");
  expect_error(run("--data " + (out / "empty")), 3, {"no .jsonl files", "--data: "});
  expect_error(run("--data " + folder("data")), 2, {"--checkpoint"});
  write_text(out / "bad.jsonl", R"({"question": "q", "chosen": "a", "rejected": "b"})"
                                "\n");
  expect_error(run("--data " + (out / "bad.jsonl")), 3, {"bad.jsonl:1", "task"});
  // Rows that are all left out, before the model is loaded or once their tokens are known.
  write_text(out / "same.jsonl", R"({"prompt": "p", "chosen": "v1", "rejected": "v1"})"
                                 "\n" +
                                     std::string(R"({"prompt": "p", "chosen": "", "rejected": "v"})"
                                                 "\n"));
  for (const std::string& more :
       {std::string(" --judge generative"), " --checkpoint " + folder("run")}) {
    expect_error(run("--set reward.bad_rows=skip --data " + (out / "same.jsonl") + more), 3,
                 {"no row is left to judge of 2 (1 chosen equals rejected, 1 empty response)",
                  "same.jsonl"});
  }
  std::string words;
  for (int i = 0; i < 60; ++i) words += "n1 ";
  write_text(out / "long.jsonl",
             R"({"prompt": "p", "chosen": ")" + words + R"(v1", "rejected": "v2"})" + "\n");
  expect_error(run("--set reward.overlong=drop_pair --limit 40 --data " + (out / "long.jsonl") +
                   " --checkpoint " + folder("run")),
               3, {"no row is left to judge of 1 (1 longer than the limit)", "long.jsonl"});
  fs::create_directory(out / "a");
  fs::create_directory(out / "b");
  const std::string published = R"({"index": 0, "shuffled_order": [0, 1], "task": "S-Drop", )"
                                R"("ctx_length": "8k", "output": "[[A]]"})"
                                "\n";
  for (const char* name : {"a/X.jsonl", "b/X.jsonl"}) write_text(out / name, published);
  const std::string outputs = "eval-reward --out " + (out / "published") + " --outputs ";
  expect_error(elastron(2, outputs + (out / "a/X.jsonl") + " " + (out / "b/X.jsonl")), 2,
               {"two files are called X"});
  EXPECT_EQ(elastron(2, outputs + (out / "a/X.jsonl")).code, 0);
  expect_error(elastron(0, "eval " + kConfig + " --set model.path=" + tiny_backbone()), 2,
               {"eval-reward"});
  const auto nothing = elastron(0, "eval-reward --out " + out.path());
  EXPECT_EQ(nothing.code, 2) << nothing.err;
}

}  // namespace
}  // namespace elastron::test
