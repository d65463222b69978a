// Rope scalings through the real program: logits of the transformers library far beyond the original
// length, model.rope_scaling in training on any layout and in all that reads a run, and documents that
// reach beyond what a model covers.
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "core/file/hdf5.h"
#include "core/file/safetensors.h"
#include "tests/launch/program.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string kSource = ELASTRON_SOURCE_DIR;
const std::string kFixtures = ELASTRON_TEST_FIXTURES;
const std::string kYarn = "{rope_type: yarn, factor: 4.0, original_max_position_embeddings: 32}";

std::string set(const std::string& rope) { return " --set 'model.rope_scaling=" + rope + "' "; }

Tensor read_logits(const std::string& file, const std::string& sequence = "/sequence_0") {
  static CpuDevice cpu;
  const Hdf5File h5 = Hdf5File::open(file, false);
  Tensor values = Tensor::empty(h5.describe(sequence + "/logits").shape, DType::f32, cpu);
  h5.read(sequence + "/logits", values, {0, 0});
  return values;
}

// ---- folders of the transformers library

// The folder of a case (tests/oracle/make_rope_fixtures.py): its config.json beside the weights of the
// family's folder.
std::string folder_of(const std::string& name, const Scratch& scratch) {
  const std::string folder = scratch / name, made = kFixtures + "/rope/" + name;
  const Json config = Json::parse(read_text(made + "/config.json"));
  fs::copy(kFixtures + "/hf/" + config["model_type"].get<std::string>(), folder);
  fs::remove(folder + "/config.json");
  write_text(folder + "/config.json", config.dump());
  return folder;
}

// Largest difference of the third sequence's logits from those that the library computed of every 37th
// row; the last row is 3.9 times the original length away from the first.
double difference(const std::string& name, const std::string& file) {
  CpuDevice cpu;
  const Tensor want =
      SafetensorsFile(kFixtures + "/rope/" + name + "/expected.safetensors").read("logits", cpu);
  const Tensor got = read_logits(file, "/sequence_2");
  const int64_t rows = want.size(0), vocab = want.size(1);
  EXPECT_EQ(rows, 600 / 37);
  EXPECT_EQ(got.size(0), 600);
  double worst = 0;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t v = 0; v < vocab; ++v) {
      const double theirs = want.data<float>()[r * vocab + v];
      const double ours = got.data<float>()[(37 * r + 36) * vocab + v];
      worst = std::max(worst, std::abs(theirs - ours));
    }
  }
  return worst;
}

TEST(RopeScalings, LogitsAreTheLibrarysOnAnyNumberOfRanks) {
  size_t cases = 0;
  for (const auto& entry : fs::directory_iterator(kFixtures + "/rope")) {
    if (!entry.is_directory()) continue;
    const Scratch scratch;
    const std::string name = entry.path().filename(), folder = folder_of(name, scratch);
    const std::string logits = "logits --model " + folder + " --tokens " + folder +
                               "/tokens.json --dtype float32 --out " + (scratch / "out.h5");
    for (const int ranks : {0, 2, 4}) {
      const auto run = elastron(ranks, logits);
      ASSERT_EQ(run.code, 0) << run.err;
      EXPECT_EQ(run.err.find("positions cover"), std::string::npos) << run.err;
      EXPECT_LT(difference(name, scratch / "out.h5"), 2e-4) << name << " on " << ranks;
    }
    // Another scaling is seen.
    ASSERT_EQ(elastron(0, logits + set("none")).code, 0);
    EXPECT_GT(difference(name, scratch / "out.h5"), 1e-2) << name;
    ++cases;
  }
  EXPECT_EQ(cases, 6u);
}

TEST(RopeScalings, ASettingIsAsGoodAsAConfig) {
  const Scratch scratch;
  const std::string folder = folder_of("yarn-v5", scratch);
  Json config = Json::parse(read_text(folder + "/config.json"));
  config["rope_parameters"] = {{"rope_theta", 10000.0}, {"rope_type", "dynamic"}, {"factor", 2.0}};
  write_text(folder + "/config.json", config.dump());
  const std::string logits = "logits --model " + folder + " --tokens " + folder +
                             "/tokens.json --dtype float32 --out " + (scratch / "out.h5");
  expect_error(elastron(0, logits), 3, {"\"dynamic\"", "not supported", "model.rope_scaling"});
  const std::string yarn = "{rope_type: yarn, factor: 4.0, original_max_position_embeddings: 150}";
  ASSERT_EQ(elastron(2, logits + set(yarn)).code, 0);
  EXPECT_LT(difference("yarn-v5", scratch / "out.h5"), 2e-4);
  // One entry of it.
  ASSERT_EQ(elastron(2, logits + set(yarn) + "--set model.rope_scaling.factor=2").code, 0);
  EXPECT_GT(difference("yarn-v5", scratch / "out.h5"), 1e-2);
  expect_error(elastron(2, logits + set("{rope_type: yarn}")), 2,
               {"'factor' of 'rope_scaling' is missing", "model.rope_scaling", "--set"});
  expect_error(elastron(2, logits + set("{rope_type: yarn, factor: 2, betafast: 3}")), 2,
               {"'betafast' of 'rope_scaling' is not supported"});
}

// ---- training and what reads a run

// Documents of up to 450 tokens, 14 times the original length of kYarn.
std::string router(const std::string& settings = "") {
  return kSource + "/tests/launch/router.yaml --set model.path=" + tiny_backbone() +
         " --set train.steps=3 --set train.global_batch=4 --set data.max_tokens=1000 "
         "--set data.synthetic.lengths=[70,300,450] --set router.ssa.sink=64 "
         "--set router.ssa.local=64 --set router.ssa.block=64 "
         "--set model.beyond_positions=allow " +
         settings;
}

TEST(RopeScalings, OneCurveOnAnyLayout) {
  const Scratch plain, one;
  ASSERT_EQ(elastron(0, "train " + router() + " --set output.dir=" + plain.path()).code, 0);
  const auto first = elastron(0, "train " + router(set(kYarn)) + " --set output.dir=" + one.path());
  ASSERT_EQ(first.code, 0) << first.err;
  const auto golden = metrics(one.path()), other = metrics(plain.path());
  const double loss = golden.at(3)["loss"], without = other.at(3)["loss"];
  EXPECT_GT(std::abs(loss - without), 1e-3 * std::abs(without));
  for (const std::string layout :
       {"2 --set parallel.tensor=2", "2 --set parallel.context=2", "4 --set parallel.context=4",
        "4 --set parallel.context=2 --set parallel.tensor=2",
        "2 --set parallel.context=2 --set parallel.context_kind=ulysses"}) {
    const Scratch ranks;
    const auto run = elastron(layout[0] - '0', "train " + router(set(kYarn)) + layout.substr(1) +
                                                   " --set output.dir=" + ranks.path());
    ASSERT_EQ(run.code, 0) << run.err;
    expect_same_curve(golden, metrics(ranks.path()), 1e-5, layout);
  }
}

TEST(RopeScalings, ARunIsReadWithThePositionsItWasTrainedWith) {
  const Scratch s;
  const std::string run = s / "run", output = " --set output.dir=" + run;
  ASSERT_EQ(elastron(0, "train " + router(set(kYarn)) + output).code, 0);
  const auto inspected = elastron(0, "inspect --config " + run);
  EXPECT_NE(inspected.out.find("factor: 4"), std::string::npos) << inspected.out;
  // Other positions are another backbone.
  const std::string more = output + " --set train.steps=5 ";
  for (const std::string& other :
       {std::string(), set("none"), set("{rope_type: yarn, factor: 2.0}")}) {
    expect_error(elastron(0, "train " + router(other) + more), 4,
                 {"another backbone", "model.rope_scaling"});
    expect_error(elastron(0, "eval " + router(other) + " --checkpoint " + run), 4,
                 {"another backbone", "model.rope_scaling"});
  }
  // However it is written.
  const std::string same =
      "{type: yarn, factor: 4, original_max_position_embeddings: 32, truncate: true}";
  const auto resumed = elastron(0, "train " + router(set(same)) + more);
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(elastron(0, "eval " + router(set(kYarn)) + " --checkpoint " + run).code, 0);

  // A router brings its positions along, from the run and from what export makes of it.
  ASSERT_EQ(elastron(0, "export --checkpoint " + run + " --out " + (s / "router")).code, 0);
  const auto settings = Json::parse(read_text(s / "router/router.json"));
  EXPECT_EQ(settings["rope_scaling"]["factor"], 4);
  write_text(
      s / "tokens.json", "[[" + [] {
        std::string ids = "5";
        for (int i = 1; i < 120; ++i) ids += ", " + std::to_string(5 + i * 7 % 300);
        return ids;
      }() + "]]");
  const auto logits = [&](const std::string& settings_of_it) {
    const auto o =
        elastron(0, "logits --model " + tiny_backbone() + " --tokens " + (s / "tokens.json") +
                        " --out " + (s / "out.h5") + " " + settings_of_it);
    EXPECT_EQ(o.code, 0) << o.err;
    return read_logits(s / "out.h5").to_vector<float>();
  };
  const std::string full = " --force full";
  const auto want = logits(full + set(kYarn));
  EXPECT_EQ(logits("--router " + run + full), want);
  EXPECT_EQ(logits("--router " + (s / "router") + full), want);
  const auto plain = logits(full);
  EXPECT_NE(plain, want);
  EXPECT_EQ(logits("--router " + run + full + set("auto")), plain);

  // Whole for others: config.json says it.
  const std::string whole = " --format hf-reference --checkpoint " + run + " --out ";
  ASSERT_EQ(elastron(0, "export" + whole + (s / "whole") + " --model " + tiny_backbone()).code, 0);
  const Json config = Json::parse(read_text(s / "whole/config.json"));
  EXPECT_EQ(config["rope_scaling"]["rope_type"], "yarn");
  EXPECT_EQ(config["rope_scaling"]["original_max_position_embeddings"], 32);
  ASSERT_EQ(elastron(0, "export" + whole + (s / "keys")).code, 0);
  EXPECT_EQ(Json::parse(read_text(s / "keys/config.json"))["rope_scaling"], config["rope_scaling"]);
  // And back.
  for (const std::string from : {"router", "whole"}) {
    const std::string imported = s / ("imported_" + from);
    const auto made = elastron(
        0, "import --from " + (s / from) + " --model " + tiny_backbone() + " --out " + imported);
    ASSERT_EQ(made.code, 0) << made.err;
    const auto evaluated = elastron(0, "eval " + router(set(kYarn)) + " --checkpoint " + imported);
    EXPECT_EQ(evaluated.code, 0) << evaluated.err;
  }
}

// The folder that a pretraining run writes says which positions it was made with.
TEST(RopeScalings, APretrainedFolderHasThem) {
  const Scratch s;
  const std::string run = s / "run", yarn = "{rope_type: yarn, factor: 2.0, truncate: false}";
  const auto pretrain = [&](const std::string& rope, int steps) {
    return elastron(
        0, "train " + kSource + "/tests/launch/pretrain.yaml --set model.path=" + tiny_shapes() +
               " --set output.dir=" + run + " --set train.steps=" + std::to_string(steps) + rope);
  };
  const auto first = pretrain(set(yarn), 2);
  ASSERT_EQ(first.code, 0) << first.err;
  expect_error(pretrain("", 3), 4, {"another backbone"});
  expect_error(pretrain(set("{rope_type: linear, factor: 2.0}"), 3), 4, {"another backbone"});
  ASSERT_EQ(pretrain(set(yarn), 3).code, 0);
  const Json config = Json::parse(read_text(run + "/model/config.json"));
  EXPECT_EQ(config["rope_scaling"], Json({{"rope_type", "yarn"},
                                          {"factor", 2.0},
                                          {"truncate", false},
                                          {"original_max_position_embeddings", 1024}}));
  EXPECT_EQ(config["max_position_embeddings"], 2048);
}

// Scores of a reward model that was trained with other positions than its folder's: taken from the
// checkpoint, and the same of what export writes.
TEST(RopeScalings, ARewardModelIsExportedWithThem) {
  const Scratch s;
  const std::string settings = kSource + "/tests/launch/reward.yaml ";
  const auto run =
      elastron(0, "train " + settings + "--set train.steps=3 --set model.path=" + tiny_backbone() +
                      " --set output.dir=" + (s / "run") + set(kYarn) +
                      "--set model.beyond_positions=allow");
  ASSERT_EQ(run.code, 0) << run.err;
  const std::string checkpoint = " --checkpoint " + (s / "run");
  ASSERT_EQ(elastron(0, "export --format hf-reference --out " + (s / "model") + checkpoint).code,
            0);
  const Json config = Json::parse(read_text(s / "model/config.json"));
  EXPECT_EQ(config["rope_scaling"]["factor"], 4.0);
  fs::create_directory(s / "data");
  ASSERT_EQ(elastron(0,
                     "synthesize --pairs --form benchmark --lexicon coded --length 128 --records 4 "
                     "--kind sequential-noise --out " +
                         (s / "data/Sequential.jsonl"))
                .code,
            0);
  const auto scores = [&](const std::string& model, const std::string& more,
                          const std::string& out) {
    const auto scored = elastron(2, "eval-reward " + settings + "--set model.path=" + model + more +
                                        " --data " + (s / "data") + " --out " + (s / out));
    EXPECT_EQ(scored.code, 0) << scored.err;
    std::vector<double> all;
    std::istringstream rows(read_text(s / out + "/rows.jsonl"));
    for (std::string line; std::getline(rows, line);) {
      all.push_back(Json::parse(line)["score_chosen"]);
    }
    return all;
  };
  const auto trained = scores(tiny_backbone(), checkpoint, "trained");
  const auto exported = scores(s / "model", " --set train.trainable=[]", "exported");
  const auto plain = scores(s / "model", " --set train.trainable=[]" + set("none"), "plain");
  ASSERT_EQ(trained.size(), 4u);
  ASSERT_EQ(exported.size(), 4u);
  double moved = 0;
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(trained[i], exported[i], 1e-4);
    moved = std::max(moved, std::abs(plain[i] - exported[i]));
  }
  EXPECT_GT(moved, 1e-3);
}

// ---- documents beyond what is covered

TEST(BeyondPositions, TheLineNamesTheSettingThatCoversThem) {
  const Scratch s;
  const auto train = [&](const std::string& more) {
    return elastron(0, "train " + kSource +
                           "/tests/launch/router.yaml --set model.path=" + tiny_backbone() +
                           " --set train.steps=1 --set output.dir=" + (s / "run") + " " + more);
  };
  // Documents have up to 91 tokens.
  const auto stretched = [](const char* factor) {
    return std::string("{rope_type: yarn, factor: ") + factor +
           ", original_max_position_embeddings: 32}";
  };
  expect_error(train(set(stretched("2.0"))), 2,
               {"the longest document has 91 tokens, the model's positions cover 64",
                "config.json, rope scaling", "data.max_tokens to 64",
                "model.rope_scaling: " + stretched("3.0"), "model.beyond_positions: warn"});
  const auto covered = train(set(stretched("3.0")));
  ASSERT_EQ(covered.code, 0) << covered.err;
  EXPECT_EQ(covered.err.find("positions cover"), std::string::npos) << covered.err;
  // A plan says the same of data.max_tokens, and has the same numbers.
  const auto plan = [&](const std::string& rope) {
    return elastron(0, "plan " + kSource + "/configs/qwen3-8b.yaml" + rope);
  };
  const auto shipped = plan(""), plain = plan(set("auto"));
  ASSERT_EQ(shipped.code, 0) << shipped.err;
  EXPECT_EQ(shipped.out, plain.out);
  EXPECT_EQ(shipped.err.find("positions cover"), std::string::npos) << shipped.err;
  EXPECT_NE(plain.err.find("a document of data.max_tokens has 65536 tokens, the model's positions "
                           "cover 40960"),
            std::string::npos)
      << plain.err;
  EXPECT_NE(plain.err.find("model.rope_scaling: {rope_type: yarn, factor: 2.0, "
                           "original_max_position_embeddings: 32768}"),
            std::string::npos)
      << plain.err;
}

}  // namespace
}  // namespace elastron::test
