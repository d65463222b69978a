// Static patterns through the program: masks (router.kind static-l0) train the same on any layout
// and go on exactly; score-heads gives the same file on any layout, and router.force reads it.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

std::string train_arguments(const std::string& folder, const std::string& more) {
  return "train " + std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/router.yaml" +
         " --set router.kind=static-l0 --set router.l0.init=0.5 --set train.lr.router=0.1" +
         " --set train.schedule=constant --set train.warmup_ratio=0 --set model.path=" +
         tiny_backbone() + " --set output.dir=" + folder + " " + more;
}

TEST(StaticMasks, SameCurveOnAnyLayout) {
  const Scratch one;
  const std::string steps = "--set train.steps=20 ";
  ASSERT_EQ(elastron(0, train_arguments(one.path(), steps)).code, 0);
  const auto golden = metrics(one.path());
  ASSERT_EQ(golden.size(), 20u);
  // The gates do move: a constant curve would prove nothing.
  EXPECT_GT(std::abs(golden.at(20)["msr"].get<double>() - golden.at(1)["msr"].get<double>()), 0.01);
  for (const auto& [ranks, tensor] : {std::pair{2, 1}, {2, 2}, {4, 2}, {4, 4}}) {
    const Scratch other;
    const auto run = elastron(
        ranks,
        train_arguments(other.path(), steps + "--set parallel.tensor=" + std::to_string(tensor)));
    ASSERT_EQ(run.code, 0) << run.err;
    expect_same_curve(golden, metrics(other.path()), 1e-5,
                      std::to_string(ranks) + " ranks, tensor " + std::to_string(tensor));
  }
}

TEST(StaticMasks, ResumeIsExact) {
  const Scratch whole, parts;
  const std::string every = " --set checkpoint.every=4";
  ASSERT_EQ(elastron(0, train_arguments(whole.path(), "--set train.steps=8" + every)).code, 0);
  ASSERT_EQ(elastron(0, train_arguments(parts.path(), "--set train.steps=4" + every)).code, 0);
  ASSERT_EQ(elastron(0, train_arguments(parts.path(), "--set train.steps=8" + every)).code, 0);
  const auto expected = metrics(whole.path()), found = metrics(parts.path());
  ASSERT_EQ(expected.size(), 8u);
  ASSERT_EQ(found.size(), 8u);
  for (const auto& [step, figures] : expected) {
    for (const char* key : {"loss", "lm_loss", "sparsity_loss", "msr", "grad_norm"}) {
      EXPECT_EQ(found.at(step)[key], figures[key]) << "step " << step << " " << key;
    }
  }
  EXPECT_EQ(contents(parts.path()), contents(whole.path()));
}

// The answer stands in the context, as "v" and a number.
std::string needle(const std::string& answer, const std::string& context = "n7 k3 v9 n1 k4 v2") {
  return nlohmann::json{{"context", context},
                        {"question", "k3"},
                        {"answer", answer},
                        {"metadata", {{"task", "Single QA"}}}}
             .dump() +
         "\n";
}

// The model that copies; random weights would score nothing.
const std::string kModel = std::string(ELASTRON_SOURCE_DIR) + "/configs/tiny/backbone";

Outcome score(int ranks, const std::string& out, const std::string& more) {
  return elastron(ranks, "score-heads --model " + kModel + " --out " + out + " " + more);
}
const std::string kSynthetic =
    "--after 1 --set data.format=synthetic --set data.max_tokens=1100 "
    "--set data.synthetic.lengths=[64,96] --set data.synthetic.clearance=40 "
    "--set data.synthetic.eval_per_kind=4 ";

TEST(ScoreHeads, SameFileOnAnyLayout) {
  const Scratch s;
  const Outcome run = score(0, s / "one.json", kSynthetic);
  ASSERT_EQ(run.code, 0) << run.err;
  const auto one = nlohmann::json::parse(read_text(s / "one.json"));
  for (const auto& [ranks, tensor] : {std::pair{2, 1}, {2, 2}, {4, 1}, {4, 2}, {4, 4}}) {
    const Outcome o = score(ranks, s / "other.json",
                            kSynthetic + "--set parallel.tensor=" + std::to_string(tensor));
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(read_text(s / "other.json"), read_text(s / "one.json"))
        << ranks << " ranks, tensor " << tensor;
  }
  EXPECT_EQ(one["backbone_fingerprint"].get<std::string>().size(), 32u);
  EXPECT_EQ(one["settings"]["after"], 1);
  EXPECT_EQ(one["needles"], 24);
  const auto &scores = one["scores"], &kv = one["kv_scores"], &ranking = one["ranking"];
  ASSERT_EQ(scores.size(), kv.size());
  double most = 0;
  for (size_t l = 0; l < scores.size(); ++l) {
    const size_t group = scores[l].size() / kv[l].size();
    for (size_t h = 0; h < kv[l].size(); ++h) {
      double sum = 0;
      for (size_t g = 0; g < group; ++g) {
        const double value = scores[l][h * group + g];
        EXPECT_TRUE(value >= 0 && value <= 1) << value;
        sum += value;
      }
      EXPECT_DOUBLE_EQ(kv[l][h].get<double>(), sum / double(group));
      most = std::max(most, kv[l][h].get<double>());
    }
  }
  EXPECT_GT(most, 0.3);
  ASSERT_EQ(ranking.size(), kv.size() * kv[0].size());
  EXPECT_EQ(ranking[0]["score"], most);
  for (size_t i = 0; i < ranking.size(); ++i) {
    const auto& r = ranking[i];
    EXPECT_EQ(r["score"], kv[r["layer"].get<size_t>()][r["kv_head"].get<size_t>()]);
    EXPECT_LE(r["score"], ranking[i == 0 ? 0 : i - 1]["score"]);
  }
}

TEST(ScoreHeads, RouterForceReadsTheFile) {
  const Scratch s;
  ASSERT_EQ(score(0, s / "scores.json", kSynthetic).code, 0);
  const auto file = nlohmann::json::parse(read_text(s / "scores.json"));
  const auto heads = file["ranking"].size(), layers = file["kv_scores"].size();
  const auto run =
      elastron(0, "generate --model " + kModel + " --prompt 'n7 k3 v9' --max-tokens 2 " +
                      "--force scores:" + (s / "scores.json") + ":0.75");
  ASSERT_EQ(run.code, 0) << run.err;
  // A line per layer, "F" or "s" per kv head.
  const auto kept = heads - heads * 3 / 4;
  std::vector<std::string> want(layers, std::string(heads / layers, 's'));
  for (size_t i = 0; i < kept; ++i) {
    const auto& r = file["ranking"][i];
    want[r["layer"].get<size_t>()][r["kv_head"].get<size_t>()] = 'F';
  }
  std::string table;
  for (const auto& line : want) table += line + "\n";
  EXPECT_NE(run.err.find(table), std::string::npos) << run.err << table;
}

TEST(ScoreHeads, OfAUsersNeedles) {
  const Scratch s;
  write_text(s / "needles.jsonl", needle("v9") + needle("v8"));
  const Outcome run = score(0, s / "out.json", "--needles all --data " + (s / "needles.jsonl"));
  ASSERT_EQ(run.code, 0) << run.err;
  const auto file = nlohmann::json::parse(read_text(s / "out.json"));
  EXPECT_EQ(file["documents"], 2);
  EXPECT_EQ(file["not_found"], 1);
  EXPECT_EQ(file["needles"], 1);
  // One token: a head copies it or does not.
  for (const auto& layer : file["scores"]) {
    for (const double value : layer) EXPECT_TRUE(value == 0 || value == 1) << value;
  }
}

TEST(ScoreHeads, BadInputIsRefused) {
  const Scratch s;
  const std::string out = s / "out.json";
  const auto with = [&](const std::string& text) {
    write_text(s / "needles.jsonl", text);
    return score(2, out, "--needles all --data " + (s / "needles.jsonl"));
  };
  expect_error(with(needle("v8")), 3, {"no document's answer stands in its prompt"});
  expect_error(with("{\"context\": \"n7\"}\n"), 3, {"needles.jsonl:1"});
  expect_error(with(""), 3, {"needles.jsonl"});
  expect_error(score(0, out, "--data " + (s / "none.jsonl")), 3, {"none.jsonl"});
  expect_error(score(0, s / "no/out.json", kSynthetic), 3, {"/no/", "check the folder"});
  EXPECT_EQ(score(0, out, "--needles some").code, 2);
  EXPECT_EQ(score(0, out, "--after 65").code, 2);
  EXPECT_EQ(elastron(0, "score-heads --model " + kModel).code, 2);
  // Random weights answer nothing by themselves.
  expect_error(
      elastron(0, "score-heads --model " + tiny_backbone() + " --out " + out + " " + kSynthetic), 3,
      {"none of the answers", "--needles all"});
  EXPECT_FALSE(std::filesystem::exists(out));
}

}  // namespace
}  // namespace elastron::test
