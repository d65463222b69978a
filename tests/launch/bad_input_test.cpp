// Every kind of bad input gives one clear line and the contract's exit code, on all ranks, and
// leaves nothing half-written.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;

const std::string kConfig = std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/router.yaml";

std::string arguments(const std::string& model, const std::string& output,
                      const std::string& more = "") {
  return "train " + kConfig + " --set train.steps=2 --set model.path=" + model +
         " --set output.dir=" + output + " " + more;
}

class BadModel : public ::testing::Test {
 protected:
  void SetUp() override { fs::copy(tiny_backbone(), model_, fs::copy_options::recursive); }
  Scratch scratch_;
  std::string model_ = scratch_ / "model", output_ = scratch_ / "run";
};

TEST_F(BadModel, MissingFiles) {
  expect_error(elastron(2, arguments(scratch_ / "nowhere", output_)), 3, {"nowhere/config.json"});
  fs::remove(model_ + "/model.safetensors");
  expect_error(elastron(2, arguments(model_, output_)), 3, {"weight file is missing"});
}

TEST_F(BadModel, TruncatedWeights) {
  const auto size = fs::file_size(model_ + "/model.safetensors");
  for (const auto keep : {size - 1, size / 2, uintmax_t(100), uintmax_t(4), uintmax_t(0)}) {
    fs::resize_file(model_ + "/model.safetensors", keep);
    const auto o = elastron(0, arguments(model_, output_));
    expect_error(o, 3, {"model.safetensors"});
  }
}

TEST_F(BadModel, WrongShapeOrMissingTensor) {
  std::string config = read_text(model_ + "/config.json");
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = config;
    text.replace(text.find(from), from.size(), to);
    write_text(model_ + "/config.json", text);
  };
  replaced("\"intermediate_size\": 96", "\"intermediate_size\": 112");
  expect_error(elastron(2, arguments(model_, output_)), 3, {"misshapen", "gate_proj", "[96, 64]"});
  replaced("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
  expect_error(elastron(0, arguments(model_, output_)), 3, {"missing model.layers.2."});
  replaced("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
  expect_error(elastron(0, arguments(model_, output_)), 3, {"unexpected model.layers.1."});
  replaced("\"hidden_size\": 64", "\"hidden_size\": \"64\"");
  expect_error(elastron(0, arguments(model_, output_)), 3, {"'hidden_size'", "config.json"});
  write_text(model_ + "/config.json", "{");
  expect_error(elastron(2, arguments(model_, output_)), 3, {"config.json"});
}

class BadData : public ::testing::Test {
 protected:
  Outcome with(const std::string& text, const std::string& more = "", int ranks = 2) {
    write_text(scratch_ / "data.jsonl", text);
    return elastron(ranks, arguments(tiny_backbone(), scratch_ / "run",
                                     "--set data.format=jsonl --set data.train=[" +
                                         (scratch_ / "data.jsonl") + "] " + more));
  }
  const std::string good_ =
      R"({"context": "n1 n2", "question": "find", "answer": "v1", "metadata": {"task": "Code"}})"
      "\n";
  Scratch scratch_;
};

TEST_F(BadData, Records) {
  expect_error(with(good_ + R"({"context": "n1", "answer": "v1", "metadata": {"task": "Code"}})"
                            "\n"),
               3, {"data.jsonl:2", "'question'"});
  expect_error(with(good_ + good_ +
                    R"({"context": "a", "question": "b", "answer": "c", )"
                    R"("metadata": {"task": "Poetry"}})"
                    "\n"),
               3, {"data.jsonl:3", "unknown task 'Poetry'", "Single QA"});
  expect_error(with(good_ + "not json\n"), 3, {"data.jsonl:2"});
  expect_error(with(good_ + good_.substr(0, 40)), 3, {"data.jsonl:2"});
  expect_error(with(""), 3, {"data.jsonl", "empty"});
  expect_error(with("\n"), 3, {"data.jsonl", "no document"});
}

TEST_F(BadData, OverlongSample) {
  std::string context;
  for (int i = 0; i < 300; ++i) context += "n1 ";
  expect_error(with(R"({"context": ")" + context +
                    R"(", "question": "find", "answer": "v1", "metadata": {"task": "Code"}})"
                    "\n"),
               3, {"data.jsonl:1", "data.max_tokens = 200", "data.overlong"});
}

TEST_F(BadData, FewerPacksThanAStep) {
  expect_error(with(good_), 2, {"train.global_batch", "1 pack"});
}

TEST(BadConfig, EveryErrorNamesKeyAndPlace) {
  const Scratch scratch;
  const auto run = [&](const std::string& more, int ranks = 2) {
    return elastron(ranks, arguments(tiny_backbone(), scratch / "run", more));
  };
  expect_error(run("--set train.stpes=3"), 2, {"train.stpes", "train.steps"});
  expect_error(run("--set train.steps=many"), 2, {"train.steps"});
  expect_error(run("--set train.objective=dance"), 2, {"train.objective", "pretrain"});
  expect_error(run("--set parallel.tensor=3"), 2, {"parallel."});
  expect_error(run("--set parallel.tensor=16", 0), 2, {"parallel."});
  expect_error(run("--set device=cuda"), 2, {"device", "CUDA"});
  expect_error(run("--set router.reg.targets.Poetry=0.5"), 2, {"router.reg.targets", "Poetry"});
  expect_error(elastron(2, "train " + (scratch / "nothing.yaml")), 2, {"nothing.yaml"});
  expect_error(elastron(2, "trian"), 2, {"command line"});
  EXPECT_FALSE(fs::exists(scratch / "run/config.yaml"));
  // A folder that cannot be made.
  write_text(scratch / "file", "");
  expect_error(elastron(2, arguments(tiny_backbone(), scratch / "file")), 2,
               {"cannot make the folder", scratch / "file"});
}

TEST(BadCheckpoint, DamagedForeignAndMissing) {
  const Scratch scratch;
  const std::string run = scratch / "run";
  ASSERT_EQ(elastron(0, arguments(tiny_backbone(), run, "--set checkpoint.every=1")).code, 0);
  const std::string newest = run + "/checkpoints/step-00000002.h5";
  const std::string eval =
      "eval " + kConfig + " --set model.path=" + tiny_backbone() + " --checkpoint ";
  EXPECT_EQ(elastron(2, eval + run).code, 0);
  expect_error(elastron(2, eval + (scratch / "none.h5")), 4, {"none.h5"});

  // Another backbone: one byte of its weights is different.
  fs::copy(tiny_backbone(), scratch / "other", fs::copy_options::recursive);
  std::string weights = read_text(scratch / "other/model.safetensors");
  weights.back() = char(weights.back() ^ 1);
  write_text(scratch / "other/model.safetensors", weights);
  expect_error(elastron(2, arguments(scratch / "other", run)), 4, {"another backbone"});

  // A damaged newest checkpoint: refused by name, passed over by auto.
  std::string bytes = read_text(newest);
  bytes[bytes.size() / 2] = char(bytes[bytes.size() / 2] ^ 4);
  write_text(newest, bytes);
  expect_error(elastron(0, "inspect " + newest), 4, {"step-00000002.h5"});
  expect_error(elastron(2, eval + newest), 4, {"step-00000002.h5"});
  const auto resumed = elastron(2, arguments(tiny_backbone(), run));
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_NE(resumed.err.find("step-00000001.h5"), std::string::npos) << resumed.err;

  // The other objective.
  expect_error(elastron(2, "train " + std::string(ELASTRON_SOURCE_DIR) +
                               "/tests/launch/pretrain.yaml --set model.path=" + tiny_shapes() +
                               " --set output.dir=" + run),
               4, {"objective"});
}

// A file-size limit stands for a full disk: writes fail part-way.
TEST(BadCheckpoint, FullDiskLosesNothing) {
  const Scratch scratch;
  const std::string run = scratch / "run";
  ASSERT_EQ(elastron(0, arguments(tiny_backbone(), run)).code, 0);
  const std::string latest = read_text(run + "/checkpoints/latest");
  const auto o = elastron(0, arguments(tiny_backbone(), run, "--set train.steps=3"),
                          "trap '' XFSZ; ulimit -f 60;");
  EXPECT_EQ(o.code, 4) << o.err;
  EXPECT_EQ(read_text(run + "/checkpoints/latest"), latest);
  for (const auto& entry : fs::directory_iterator(run + "/checkpoints")) {
    EXPECT_FALSE(entry.path().string().ends_with(".tmp")) << entry.path();
  }
  EXPECT_EQ(elastron(0, "inspect " + run).code, 0);
}

}  // namespace
}  // namespace elastron::test
