// elastron export and import: a trained router goes out in both formats and comes back as the same
// bytes, evaluates the same and trains on; on any number of ranks; bad input is one line.
#include <gtest/gtest.h>

#include <filesystem>

#include "core/file/safetensors.h"
#include "tests/launch/program.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;

std::string config(const std::string& folder, const std::string& more = "") {
  return std::string(ELASTRON_SOURCE_DIR) +
         "/tests/launch/router.yaml --set model.path=" + tiny_backbone() +
         " --set output.dir=" + folder + " --set train.schedule=constant" +
         " --set train.warmup_ratio=0 " + more;
}

// A run of some steps with `settings`.
void train(const std::string& folder, const std::string& settings, int steps = 2,
           const std::string& resume = "") {
  const Outcome o = elastron(0, "train " + config(folder, settings) +
                                    " --set train.steps=" + std::to_string(steps) + resume);
  ASSERT_EQ(o.code, 0) << o.err;
}

Outcome export_to(const std::string& from, const std::string& to, const std::string& more = "",
                  int ranks = 0) {
  return elastron(ranks, "export --checkpoint " + from + " --out " + to + " " + more);
}
const std::string kReference = "--format hf-reference";

Outcome import_to(const std::string& from, const std::string& to, int ranks = 0,
                  const std::string& model = tiny_backbone()) {
  return elastron(ranks, "import --from " + from + " --model " + model + " --out " + to);
}

std::string evaluation(const std::string& run, const std::string& checkpoint,
                       const std::string& settings) {
  const Outcome o = elastron(0, "eval " + config(run, settings) + " --checkpoint " + checkpoint +
                                    " --out " + run + ".json");
  EXPECT_EQ(o.code, 0) << o.err;
  auto figures = nlohmann::json::parse(read_text(run + ".json"));
  figures.erase("made_by");  // names the checkpoint
  return figures.dump();
}

struct Case {
  const char* name;
  const char* settings;
};

class RoundTrip : public ::testing::TestWithParam<Case> {};

TEST_P(RoundTrip, SameBytesSameEvaluation) {
  const Scratch s;
  const std::string settings = GetParam().settings, run = s / "run";
  train(run, settings);
  ASSERT_EQ(export_to(run, s / "own").code, 0);
  ASSERT_EQ(export_to(run, s / "hf", kReference).code, 0);
  ASSERT_EQ(export_to(run, s / "whole", kReference + " --model " + tiny_backbone()).code, 0);
  // Written from an export: the same.
  ASSERT_EQ(export_to(s / "hf", s / "own_of_hf").code, 0);

  const std::string figures = evaluation(run, run, settings);
  // The published implementation's task embedding has no row for the last task.
  const bool exact = settings.find("task_embedding") == settings.npos;
  for (const std::string from : {"own", "hf", "whole", "own_of_hf"}) {
    const std::string imported = s / ("imported_" + from);
    const Outcome made = import_to(s / from, imported);
    ASSERT_EQ(made.code, 0) << made.err;
    ASSERT_EQ(export_to(imported, s / ("again_" + from)).code, 0);
    const bool same = exact || from == "own";
    for (const char* file : {"/router.safetensors", "/router.json"}) {
      EXPECT_EQ(read_text(s / "own" + file) == read_text(s / ("again_" + from) + file),
                same || std::string(file) == "/router.json")
          << from << file;
    }
    ASSERT_EQ(export_to(imported, s / ("hf_" + from), kReference).code, 0);
    for (const char* file : {"/router.safetensors", "/config.json"}) {
      EXPECT_EQ(read_text(s / "hf" + file), read_text(s / ("hf_" + from) + file)) << from << file;
    }
    EXPECT_EQ(evaluation(run, imported, settings), figures) << from;
  }
  EXPECT_NE(read_text(s / "whole/config.json").find("\"hidden_size\""), std::string::npos);
  EXPECT_EQ(read_text(s / "whole/router.safetensors"), read_text(s / "hf/router.safetensors"));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, RoundTrip,
    ::testing::Values(Case{"softmax", ""},
                      Case{"sigmoid", "--set router.kind=sigmoid --set router.hidden_mult=2"},
                      Case{"static_masks", "--set router.kind=static-l0 --set router.l0.init=0.5"},
                      Case{"without_multipliers", "--set router.reg.enabled=false"},
                      Case{"layers", "--set router.preset=flux"},
                      Case{"positions",
                           "--set 'model.rope_scaling={rope_type: yarn, factor: 2.0, truncate: "
                           "false}'"},
                      Case{"options",
                           "--set router.task_embedding=true --set router.tau_schedule=learned "
                           "--set router.tau.init=0.7"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Export, Bfloat16IsRoundedOnce) {
  const Scratch s;
  train(s / "run", "");
  CpuDevice cpu;
  for (const std::string format : {"", "--format hf-reference"}) {
    const std::string exact = s / "exact" + format.substr(0, 2),
                      half = s / "half" + format.substr(0, 2);
    ASSERT_EQ(export_to(s / "run", exact, format).code, 0);
    ASSERT_EQ(export_to(s / "run", half, format + " --dtype bfloat16").code, 0);
    const SafetensorsFile a(exact + "/router.safetensors"), b(half + "/router.safetensors");
    ASSERT_EQ(a.entries().size(), b.entries().size());
    bool any_changed = false;
    for (const auto& [name, entry] : a.entries()) {
      ASSERT_EQ(b.entries().at(name).shape, entry.shape) << name;
      ASSERT_EQ(b.entries().at(name).storage, Storage::bf16) << name;
      const auto from = a.read(name, cpu).to_vector<float>();
      const auto to = b.read(name, cpu).to_vector<bf16>();
      for (size_t i = 0; i < from.size(); ++i) {
        ASSERT_EQ(to[i].bits, bf16(from[i]).bits) << name;
        any_changed = any_changed || float(to[i]) != from[i];
      }
    }
    EXPECT_TRUE(any_changed);
    // What is read from it is stored as it is.
    ASSERT_EQ(export_to(half, half + "2",
                        format + " --dtype bfloat16 " +
                            (format.empty() ? "" : "--model " + tiny_backbone()))
                  .code,
              0);
    EXPECT_EQ(read_text(half + "/router.safetensors"), read_text(half + "2/router.safetensors"));
  }
  EXPECT_EQ(export_to(s / "run", s / "other", "--dtype float8").code, 2);
}

// Training from an imported router is what it would be from the router itself, its data begun anew.
TEST(Import, TrainsOnFromTheStart) {
  const Scratch s;
  train(s / "run", "", 3);
  ASSERT_EQ(export_to(s / "run", s / "own").code, 0);
  ASSERT_EQ(import_to(s / "own", s / "imported").code, 0);
  train(s / "next", "", 2, " --resume " + s / "imported");
  const auto steps = metrics(s / "next"), before = metrics(s / "run");
  ASSERT_EQ(steps.size(), 2u);
  // The first data again, with the trained router.
  EXPECT_EQ(steps.at(1)["tokens"], before.at(1)["tokens"]);
  EXPECT_NE(steps.at(1)["loss"], before.at(1)["loss"]);
  // A folder of checkpoints to go on in.
  ASSERT_EQ(import_to(s / "own", s / "auto/checkpoints").code, 0);
  train(s / "auto", "", 2);
  EXPECT_EQ(metrics(s / "auto").at(2)["loss"], steps.at(2)["loss"]);
}

TEST(Import, OnSeveralRanks) {
  const Scratch s;
  train(s / "run", "");
  ASSERT_EQ(export_to(s / "run", s / "own").code, 0);
  ASSERT_EQ(export_to(s / "run", s / "own2", "", 2).code, 0);
  EXPECT_EQ(read_text(s / "own/router.safetensors"), read_text(s / "own2/router.safetensors"));
  ASSERT_EQ(import_to(s / "own", s / "one").code, 0);
  const Outcome two = import_to(s / "own", s / "two", 2);
  ASSERT_EQ(two.code, 0) << two.err;
  EXPECT_EQ(contents(s / "one"), contents(s / "two"));
}

class Refused : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    scratch_ = new Scratch;
    train(*scratch_ / "run", "", 1);
    ASSERT_EQ(export_to(*scratch_ / "run", *scratch_ / "own").code, 0);
    ASSERT_EQ(export_to(*scratch_ / "run", *scratch_ / "hf", kReference).code, 0);
  }
  static void TearDownTestSuite() { delete scratch_; }
  static Scratch* scratch_;

  std::string in(const std::string& name) const { return *scratch_ / name; }
  // A copy to damage.
  std::string copy(const std::string& name) {
    const std::string to = here_ / name;
    fs::copy(in(name), to, fs::copy_options::recursive);
    return to;
  }
  Scratch here_;
};
Scratch* Refused::scratch_ = nullptr;

TEST_F(Refused, WhatIsNoRouter) {
  const std::string out = here_ / "out";
  expect_error(export_to(here_ / "nowhere", out), 4, {"nowhere", "does not exist"});
  expect_error(export_to(here_ / "nowhere.safetensors", out), 3, {"not an exported router"});
  expect_error(export_to(here_ / "router.safetensors", out), 3, {"not an exported router"});
  expect_error(export_to(tiny_backbone() + "/model.safetensors", out), 3, {"name the folder"});
  expect_error(import_to(tiny_backbone(), out), 3, {"'retrieval_mode' is missing"});
  expect_error(import_to(tiny_shapes(), out, 2), 3, {"model.safetensors"});
  const std::string own = copy("own");
  fs::remove(own + "/router.json");
  expect_error(import_to(own, out), 3, {"config.json"});
  EXPECT_FALSE(fs::exists(out));
}

TEST_F(Refused, DamagedFiles) {
  const std::string own = copy("own"), hf = copy("hf"), out = here_ / "out";
  const auto size = fs::file_size(own + "/router.safetensors");
  for (const auto keep : {size - 1, size / 2, uintmax_t(7), uintmax_t(0)}) {
    fs::resize_file(own + "/router.safetensors", keep);
    expect_error(import_to(own, out, keep == 0 ? 2 : 0), 3, {"router.safetensors"});
  }
  write_text(hf + "/config.json", "{\"toggle_type\": ");
  expect_error(import_to(hf, out), 3, {"config.json", "JSON"});
  // Tensors of the one with the settings of the other.
  fs::copy_file(in("hf") + "/router.safetensors", own + "/router.safetensors",
                fs::copy_options::overwrite_existing);
  expect_error(import_to(own, out), 3, {"no tensor router.layers.0.task.0.weight"});
  EXPECT_FALSE(fs::exists(out));
}

TEST_F(Refused, AnotherBackbone) {
  const std::string out = here_ / "out";
  expect_error(import_to(in("own"), out, 2, tiny_backbone("llama")), 3, {"another backbone"});
  const std::string own = copy("own");
  std::string settings = read_text(own + "/router.json");
  const size_t at = settings.find("  \"backbone_fingerprint\"");
  settings.erase(at, settings.find('\n', at) + 1 - at);
  write_text(own + "/router.json", settings);
  EXPECT_EQ(import_to(own, out, 0, tiny_backbone("llama")).code, 0);
}

TEST_F(Refused, NoMultipliersWhereTheyAreWanted) {
  train(here_ / "run", "--set router.reg.enabled=false", 1);
  ASSERT_EQ(export_to(here_ / "run", here_ / "own").code, 0);
  const std::string settings = here_ / "own/router.json";
  std::string text = read_text(settings);
  const size_t at = text.find("\"enabled\": false");
  ASSERT_NE(at, text.npos);
  write_text(settings, text.replace(at, 16, "\"enabled\": true"));
  expect_error(import_to(here_ / "own", here_ / "out"), 3, {"no multipliers", "enabled"});
  EXPECT_FALSE(fs::exists(here_ / "out"));
}

TEST_F(Refused, FoldersThatHoldSomethingElse) {
  const std::string imported = here_ / "imported";
  ASSERT_EQ(import_to(in("own"), imported).code, 0);
  expect_error(import_to(in("own"), imported), 2, {"already has checkpoints"});
  expect_error(import_to(in("own"), here_ / "x.h5"), 2, {"name a folder"});
  expect_error(export_to(in("run"), copy("own"), kReference), 2, {"already has a router.json"});
  expect_error(export_to(in("run"), copy("hf")), 2, {"already has a config.json"});
  const std::string model = here_ / "model";
  fs::copy(tiny_backbone(), model);
  const std::string before = read_text(model + "/config.json");
  expect_error(export_to(in("run"), model, kReference), 2, {"already has a model.safetensors"});
  EXPECT_EQ(read_text(model + "/config.json"), before);
  // Its own kind is written over.
  EXPECT_EQ(export_to(in("run"), here_ / "own").code, 0);
}

TEST_F(Refused, BackboneNotKnown) {
  const std::string own = copy("own");
  expect_error(export_to(own, here_ / "out", kReference), 2, {"--model"});
  EXPECT_EQ(export_to(own, here_ / "out", kReference + " --model " + tiny_backbone()).code, 0);
  expect_error(export_to(own, here_ / "out2", "--format other"), 2, {"format"});
}

}  // namespace
}  // namespace elastron::test
