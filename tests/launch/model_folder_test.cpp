// Folders that users bring, through the real program: what they hold is computed as the
// transformers library computes it, or refused in one line; what is out of range is said.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <sstream>

#include "core/file/hdf5.h"
#include "core/file/safetensors.h"
#include "tests/launch/program.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string kRouter = std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/router.yaml";
const std::string kReward = std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/reward.yaml";
const std::string kFixtures = ELASTRON_TEST_FIXTURES;

// Outlives every tensor.
CpuDevice& cpu() {
  static CpuDevice device;
  return device;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

// A copy of a folder, to change.
class Folder {
 public:
  explicit Folder(const std::string& like) {
    fs::copy(like, path());
    for (const auto& entry : fs::directory_iterator(path())) {
      fs::permissions(entry.path(), fs::perms::owner_write, fs::perm_options::add);
    }
  }
  std::string path() const { return scratch_ / "model"; }
  std::string file(const std::string& name) const { return path() + "/" + name; }
  // null takes a key out.
  void set(const std::string& key, const Json& value) {
    Json config = Json::parse(read_text(file("config.json")));
    config.erase(key);
    if (!value.is_null()) config[key] = value;
    write_text(file("config.json"), config.dump());
  }
  std::map<std::string, Tensor> tensors() {
    const SafetensorsFile in(file("model.safetensors"));
    std::map<std::string, Tensor> all;
    for (const auto& [name, entry] : in.entries()) all[name] = in.read(name, cpu());
    return all;
  }
  void save(const std::map<std::string, Tensor>& tensors) {
    write_safetensors(file("model.safetensors"), tensors);
  }

 private:
  Scratch scratch_;
};

Outcome logits(const std::string& model, const std::string& out, const std::string& more = "",
               const std::string& prefix = "", int ranks = 0) {
  const Scratch scratch;
  write_text(scratch / "tokens.json", "[[1, 2, 3, 4, 5, 6]]");
  return elastron(ranks,
                  "logits --model " + model + " --tokens " + (scratch / "tokens.json") + " --out " +
                      out + " " + more,
                  prefix);
}

std::vector<float> values(const std::string& file) {
  const Hdf5File h5 = Hdf5File::open(file, false);
  Tensor t = Tensor::empty(h5.describe("/sequence_0/logits").shape, DType::f32, cpu());
  h5.read("/sequence_0/logits", t, {0, 0});
  return t.to_vector<float>();
}

std::string train(const std::string& model, const std::string& output,
                  const std::string& more = "") {
  return "train " + kRouter + " --set train.steps=2 --set model.path=" + model +
         " --set output.dir=" + output + " " + more;
}

// ---- the head that is scored, and where

// Folders of tests/fixtures, made by tests/oracle/make_classifier_fixtures.py.
class Classifier : public ::testing::TestWithParam<const char*> {
 protected:
  void pad(const std::string& name) {
    folder_.set("pad_token_id", name == "end" ? Json(1) : name == "other" ? Json(2) : Json());
    expected_ = Json::parse(read_text(folder_.file("expected.json")))[name];
  }
  std::string data() const { return " --data " + folder_.file("pairs.jsonl"); }
  // Of model folder or checkpoint; compares with the library's scores.
  void expect_scores(const std::string& model, const std::string& more, int ranks = 0) {
    const Scratch scratch;
    const auto run = elastron(ranks, "eval-reward " + kReward + " --set model.path=" + model +
                                         data() + " --out " + (scratch / "out") + " " + more);
    ASSERT_EQ(run.code, 0) << run.err;
    std::istringstream rows(read_text(scratch / "out/rows.jsonl"));
    size_t i = 0;
    for (std::string line; std::getline(rows, line); ++i) {
      const auto row = Json::parse(line);
      EXPECT_NEAR(row["score_chosen"].get<double>(), expected_[i][0].get<double>(), 1e-5) << i;
      EXPECT_NEAR(row["score_rejected"].get<double>(), expected_[i][1].get<double>(), 1e-5) << i;
    }
    EXPECT_EQ(i, expected_.size());
  }
  Folder folder_{kFixtures + "/" + GetParam()};
  Json expected_;
};

TEST_P(Classifier, IsScoredWhereTheLibraryDoesWhateverItPadsWith) {
  for (const std::string name : {"end", "other", "none"}) {
    pad(name);
    expect_scores(folder_.path(), "");
  }
  pad("end");
  expect_scores(folder_.path(), "--set parallel.context=2", 2);
  expect_scores(folder_.path(), "--set reward.share_prompts=false");
}

// Training sees the same scores, and what it exports goes on with the same padding.
TEST_P(Classifier, IsTrainedAndExportedAsItIsScored) {
  pad("end");
  const Scratch scratch;
  const auto run = elastron(
      0, "train " + kReward + " --set model.path=" + folder_.path() +
             " --set data.format=jsonl --set data.train=[" + folder_.file("pairs.jsonl") +
             "] --set train.trainable=[reward_head] --set train.lr.head=0 --set train.steps=1 "
             "--set train.global_batch=4 --set train.micro_batch=2 --set eval.every=0 --set "
             "output.dir=" +
             (scratch / "run"));
  ASSERT_EQ(run.code, 0) << run.err;
  double margin = 0;
  for (const Json& pair : expected_) margin += pair[0].get<double>() - pair[1].get<double>();
  EXPECT_NEAR(metrics(scratch / "run").at(1)["margin_mean"].get<double>(),
              margin / double(expected_.size()), 1e-5);
  const auto written = elastron(0, "export --format hf-reference --checkpoint " +
                                       (scratch / "run") + " --out " + (scratch / "model"));
  ASSERT_EQ(written.code, 0) << written.err;
  EXPECT_EQ(Json::parse(read_text(scratch / "model/config.json"))["pad_token_id"], 1);
  expect_scores(scratch / "model", "");
}

TEST_P(Classifier, OtherHeadsAreRefused) {
  const Scratch scratch;
  const auto refused = [&](const std::vector<std::string>& fragments) {
    expect_error(elastron(0, "eval-reward " + kReward + " --set model.path=" + folder_.path() +
                                 data() + " --out " + (scratch / "out")),
                 3, fragments);
  };
  const auto whole = folder_.tensors();
  auto tensors = whole;
  tensors.erase("score.weight");
  folder_.save(tensors);
  refused({"missing score.weight"});
  tensors["v_head.summary.weight"] = whole.at("score.weight");
  folder_.save(tensors);
  refused({"missing score.weight", "unexpected v_head.summary.weight"});
  tensors = whole;
  tensors["score.bias"] = Tensor::zeros({1}, DType::f32, cpu());
  folder_.save(tensors);
  refused({"unexpected score.bias"});
  tensors = whole;
  tensors["score.weight"] = Tensor::zeros({2, 16}, DType::f32, cpu());
  folder_.save(tensors);
  refused({"misshapen score.weight", "[2, 16]"});
  std::string architecture =
      Json::parse(read_text(folder_.file("config.json")))["architectures"][0];
  const std::string classifier = "SequenceClassification";
  architecture.replace(architecture.find(classifier), classifier.size(), "CausalLM");
  folder_.set("architectures", {architecture});
  folder_.save(whole);
  refused({"unexpected score.weight"});
}

INSTANTIATE_TEST_SUITE_P(Families, Classifier, ::testing::Values("classifier", "classifier_moe"),
                         [](const auto& of) { return std::string(of.param); });

// ---- weights

TEST(ModelFolder, AHeadThatDiffersFromATiedEmbeddingIsUsed) {
  const Scratch out;
  Folder tied(tiny_backbone()), untied(tiny_backbone());
  auto tensors = tied.tensors();
  // Its rows in another order.
  Tensor head = tensors.at("model.embed_tokens.weight").clone();
  const size_t row = size_t(head.size(1)) * dtype_size(head.dtype());
  auto* bytes = static_cast<std::byte*>(head.raw());
  for (int64_t i = 0; i + 1 < head.size(0); i += 2) {
    std::swap_ranges(bytes + size_t(i) * row, bytes + size_t(i + 1) * row,
                     bytes + size_t(i + 1) * row);
  }
  tensors["lm_head.weight"] = head;
  tied.save(tensors);
  untied.save(tensors);
  untied.set("tie_word_embeddings", false);
  const auto run = logits(tied.path(), out / "tied.h5");
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(count(run.err, "lm_head.weight is another tensor"), 1u) << run.err;
  ASSERT_EQ(logits(untied.path(), out / "untied.h5").code, 0);
  ASSERT_EQ(logits(tiny_backbone(), out / "before.h5").code, 0);
  EXPECT_EQ(values(out / "tied.h5"), values(out / "untied.h5"));
  EXPECT_NE(values(out / "tied.h5"), values(out / "before.h5"));
  // Training takes the same head, and says so once.
  const Scratch scratch;
  const auto one = elastron(0, train(tied.path(), scratch / "tied"));
  ASSERT_EQ(one.code, 0) << one.err;
  EXPECT_EQ(count(one.err, "lm_head.weight is another tensor"), 1u) << one.err;
  ASSERT_EQ(elastron(0, train(untied.path(), scratch / "untied")).code, 0);
  expect_same_curve(metrics(scratch / "tied"), metrics(scratch / "untied"), 0, "tied");
}

TEST(ModelFolder, WeightFilesThatAreNone) {
  const Scratch out;
  const auto refused = [&](const Folder& folder, const std::vector<std::string>& fragments) {
    expect_error(logits(folder.path(), out / "out.h5"), 3, fragments);
    EXPECT_FALSE(fs::exists(out / "out.h5"));
  };
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1589208\n";
  for (const char* name : {"model.safetensors", "config.json"}) {
    const Folder folder(tiny_backbone());
    write_text(folder.file(name), pointer);
    refused(folder, {"Git LFS pointer", "git lfs pull", name});
  }
  Folder pickled(tiny_backbone());
  fs::rename(pickled.file("model.safetensors"), pickled.file("pytorch_model.bin"));
  refused(pickled, {"pytorch_model.bin is not read", "safetensors"});
  Folder shard(tiny_backbone());
  fs::rename(shard.file("model.safetensors"), shard.file("model-00001-of-00001.safetensors"));
  refused(shard, {"model-00001-of-00001.safetensors", "model.safetensors.index.json"});

  Folder damaged(tiny_backbone());
  auto tensors = damaged.tensors();
  Tensor norm = tensors.at("model.norm.weight").clone();
  norm.data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  tensors["model.norm.weight"] = norm;
  damaged.save(tensors);
  refused(damaged, {"not finite: model.norm.weight"});
}

// Nothing is allocated for shapes that the weights do not have.
// Weights that take longer to arrive than the watchdog waits, a second for the largest tensor; one
// rank is done before the other.
TEST(ModelFolder, SlowStorageIsNoStandstill) {
  const std::string weights = tiny_backbone() + "/model.safetensors";
  const auto bytes = double(fs::file_size(weights));
  const std::string slow = "export LD_PRELOAD=" + preloadable(ELASTRON_SLOW_STORAGE) +
                           " SLOW_PATH=model.safetensors SLOW_BYTES=";
  for (const int ranks : {0, 2}) {
    const Scratch run;
    const Outcome o = elastron(
        ranks,
        "train " + kRouter + " --set model.path=" + tiny_backbone() +
            " --set output.dir=" + run.path() +
            " --set train.steps=1 --set train.global_batch=2 --set parallel.timeout_seconds=3"
            " --set data.synthetic.lengths=[64]",
        slow + std::to_string(bytes / 9) + ";");
    EXPECT_EQ(o.code, 0) << o.err;
  }
}

TEST(ModelFolder, ShapesThatOnlyTheConfigHas) {
  const Scratch out;
  Folder folder(tiny_backbone());
  folder.set("vocab_size", 1000000000);
  expect_error(logits(folder.path(), out / "out.h5"), 3,
               {"model.embed_tokens.weight is [401, 64]", "[1000000000, 64]"});
  expect_error(elastron(2, train(folder.path(), out / "run")), 3, {"[1000000000, 64]"});
}

// ---- generation

TEST(ModelFolder, GenerationConfigEndsTexts) {
  Folder folder(kFixtures + "/hf/llama");
  const auto prompt = Json::parse(read_text(folder.file("tokens.json")))[1];
  const auto expected = Json::parse(read_text(folder.file("generated.json")))[0];
  folder.set("eos_token_id", nullptr);
  write_text(folder.file("generation_config.json"),
             Json({{"eos_token_id", {expected[20]}}, {"temperature", 0.6}}).dump());
  const auto run = elastron(0, "generate --model " + folder.path() + " --ids '" + prompt.dump() +
                                   "' --dtype float32 --max-tokens 60");
  ASSERT_EQ(run.code, 0) << run.err;
  auto want = expected;
  want.erase(std::find(want.begin(), want.end(), expected[20]), want.end());
  EXPECT_EQ(Json::parse(run.out), want);
  // Without an end of a text anywhere: only what needs one says so.
  write_text(folder.file("generation_config.json"), "{}");
  EXPECT_EQ(logits(folder.path(), folder.path() + "/out.h5").code, 0);
  Folder backbone(tiny_backbone());
  backbone.set("eos_token_id", nullptr);
  expect_error(elastron(2, train(backbone.path(), folder.path() + "/run")), 3,
               {"'eos_token_id' is missing", "config.json"});
}

// ---- positions

TEST(ModelFolder, PositionsBeyondItsOwn) {
  const Scratch scratch;
  Folder folder(tiny_backbone());
  folder.set("max_position_embeddings", 80);  // documents have up to 91 tokens, pairs more
  const std::string what = "the model's positions cover 80";
  const auto run = [&](const std::string& policy) {
    return elastron(2, train(folder.path(), scratch / ("run" + policy),
                             policy.empty() ? "" : "--set model.beyond_positions=" + policy));
  };
  for (const char* policy : {"", "error"}) {
    expect_error(
        run(policy), 2,
        {"the longest document has 91 tokens", what, "config.json, max_position_embeddings",
         "data.max_tokens to 80",
         "model.rope_scaling: {rope_type: yarn, factor: 1.5, original_max_position_embeddings: 80}",
         "model.beyond_positions: warn"});
  }
  for (const char* policy : {"warn", "allow"}) {
    const auto o = run(policy);
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(count(o.err, what), std::string(policy) == "warn" ? 1u : 0u) << o.err;
  }
  // Pairs, and what only reads.
  expect_error(elastron(0, "train " + kReward + " --set model.path=" + folder.path() +
                               " --set output.dir=" + (scratch / "reward")),
               2, {"the longest sequence", what});
  const std::string eval = "eval " + kRouter + " --set model.path=" + folder.path() +
                           " --set data.synthetic.eval_per_kind=1 --checkpoint " +
                           (scratch / "runwarn");
  const auto evaluated = elastron(2, eval);
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  EXPECT_EQ(count(evaluated.err, what), 1u) << evaluated.err;
  expect_error(elastron(2, eval + " --set model.beyond_positions=error"), 2, {what});
  const auto scored = elastron(
      0, "score-heads " + kRouter + " --needles all --set data.synthetic.eval_per_kind=1 --model " +
             folder.path() + " --out " + (scratch / "scores.json"));
  ASSERT_EQ(scored.code, 0) << scored.err;
  EXPECT_EQ(count(scored.err, what), 1u) << scored.err;
  // Sequences of six tokens, and of as many as are asked for.
  folder.set("max_position_embeddings", 5);
  const auto forward = logits(folder.path(), scratch / "out.h5");
  EXPECT_EQ(forward.code, 0);
  EXPECT_EQ(count(forward.err, "positions cover 5"), 1u) << forward.err;
  expect_error(logits(folder.path(), scratch / "out.h5", "--set model.beyond_positions=error"), 2,
               {"has 6 tokens"});
  const auto generated =
      elastron(0, "generate --model " + folder.path() + " --ids '[1]' --max-tokens 7");
  EXPECT_EQ(count(generated.err, "positions cover 5"), 1u) << generated.err;
}

// ---- a CPU without bfloat16 products

// Weights and activations stay in bfloat16, so that memory does; products are in float32, whose
// results are rounded as bfloat16 products round theirs.
TEST(ModelFolder, BfloatRunsWhereTheCpuLacksItsProducts) {
  const std::string older = "ONEDNN_MAX_CPU_ISA=AVX2";
  const std::string folder = kFixtures + "/hf/qwen3";  // stored as bfloat16
  const Scratch scratch;
  ASSERT_EQ(logits(folder, scratch / "float32.h5", "--dtype float32").code, 0);
  ASSERT_EQ(logits(folder, scratch / "here.h5", "").code, 0);
  const auto run = logits(folder, scratch / "older.h5", "", older, 2);
  ASSERT_EQ(run.code, 0) << run.err;
  const auto exact = values(scratch / "float32.h5"), here = values(scratch / "here.h5"),
             got = values(scratch / "older.h5");
  ASSERT_EQ(exact.size(), got.size());
  ASSERT_EQ(exact.size(), here.size());
  // As far from float32 as what this CPU does, whatever it has: both round at the same places.
  double worst = 0, usual = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    worst = std::max(worst, double(std::abs(exact[i] - got[i])));
    usual = std::max(usual, double(std::abs(exact[i] - here[i])));
  }
  EXPECT_LE(worst, 2 * usual);

  const std::string bfloat = "--set model.dtype=bfloat16 ";
  const auto trained = elastron(0, train(tiny_backbone(), scratch / "older", bfloat), older);
  ASSERT_EQ(trained.code, 0) << trained.err;
  ASSERT_EQ(elastron(0, train(tiny_backbone(), scratch / "here", bfloat)).code, 0);
  // Gates are drawn: one that falls otherwise changes the step. The first one's are the same.
  const auto mine = metrics(scratch / "older").at(1), theirs = metrics(scratch / "here").at(1);
  EXPECT_NEAR(mine["lm_loss"].get<double>(), theirs["lm_loss"].get<double>(),
              std::ldexp(theirs["lm_loss"].get<double>(), -7));
}

}  // namespace
}  // namespace elastron::test
