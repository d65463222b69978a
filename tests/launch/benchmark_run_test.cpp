// elastron benchmark with a model, as a user calls it: the shipped backbone on questions that it can
// answer, asked in the benchmarks' forms.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/launch/benchmark_documents.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string last_word(const json& document) {
  const std::string answer = document["answer"];
  return answer.substr(answer.find_last_of(' ') + 1);
}

// RULER's row of a document: its question, if it is asked, stands where answers begin.
std::string ruler_row(const json& document, int index, bool asked) {
  return json{{"index", index},
              {"input", document["context"].get<std::string>() + " "},
              {"answer_prefix", asked ? document["question"] : json("")},
              {"outputs", {last_word(document)}},
              {"length", 0}}
             .dump() +
         "\n";
}

// <folder>/<words>/data/{niah_single_1,vt,fwe,elastron-qa_1}/validation.jsonl. fwe's questions are
// left out: what the backbone goes on with is none or as long as may be, so that rows are finished
// in another order than they are asked.
void make_ruler(const Scratch& scratch) {
  const std::map<std::string, std::string> kinds = {
      {"needle", "niah_single_1"}, {"trace", "vt"}, {"pattern", "fwe"}};
  for (const int words : {128, 256}) {
    for (const auto& [kind, task] : kinds) {
      std::string rows;
      int index = 10;
      for (const json& d : documents(kind, words, 5)) {
        rows += ruler_row(d, index++, task != "fwe");
      }
      scratch.write(std::to_string(words) + "/data/" + task + "/validation.jsonl", rows);
    }
  }
  const Outcome own = elastron(0, "synthesize --ruler --model " + kModel + " --out " +
                                      (scratch / "own") + " --length 128 --records 3 --kind qa_1");
  ASSERT_EQ(own.code, 0) << own.err;
  fs::rename(scratch / "own/elastron-qa_1", scratch / "128/data/elastron-qa_1");
}

class BenchmarkRun : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    data_ = new Scratch;
    make_ruler(*data_);
  }
  static void TearDownTestSuite() { delete data_; }

  static Outcome ruler(int ranks, const std::string& out, const std::string& more = "",
                       const std::string& prefix = "") {
    return elastron(ranks,
                    "benchmark ruler --model " + kModel + kRouting + " --data " + data_->path() +
                        " --out " + out + " " + more,
                    prefix);
  }
  static Scratch* data_;
};
Scratch* BenchmarkRun::data_ = nullptr;

TEST_F(BenchmarkRun, RulerIsAskedAndScored) {
  const Scratch out;
  const Outcome o = ruler(0, out / "full");
  ASSERT_EQ(o.code, 0) << o.err;
  const json all = json::parse(read_text(out / "full/results.json"));
  EXPECT_EQ(all["benchmark"], "ruler");
  // All is there: the same command finds nothing to do, and says the same.
  const std::string command = all["made_by"]["command"];
  ASSERT_TRUE(command.starts_with("elastron benchmark ruler ")) << command;
  EXPECT_NE(command.find(" --data " + data_->path() + " "), command.npos) << command;
  ASSERT_EQ(elastron(0, command.substr(9)).code, 0) << command;
  EXPECT_EQ(json::parse(read_text(out / "full/results.json")), all);
  for (const char* length : {"128", "256"}) {
    for (const char* task : {"niah_single_1", "vt"}) {
      const json& result = all["results"][length]["tasks"][task];
      EXPECT_EQ(result["score"], 100.0) << length << task;
      EXPECT_EQ(result["rows"], 5);
      EXPECT_EQ(result["nulls"], 0);
      EXPECT_EQ(result["truncated"], 0);
      EXPECT_EQ(result["msr"], 0.0);
      EXPECT_EQ(result["esr"], 0.0);
      EXPECT_GT(result["prompt_tokens_per_second"], 0.0);
      EXPECT_EQ(result["interval_95"], json({100.0, 100.0}));
    }
  }
  EXPECT_EQ(all["results"]["128"]["tasks"]["elastron-qa_1"]["rows"], 3);
  EXPECT_NE(o.out.find("niah_single_1                    256      5      0      0   100.00"),
            o.out.npos)
      << o.out;
  // Some were finished before rows that were asked before.
  std::set<int64_t> new_tokens;
  for (const json& row : lines_of(read_text(out / "full/128/figures/fwe.jsonl"))) {
    new_tokens.insert(row["new_tokens"].get<int64_t>());
  }
  EXPECT_GT(new_tokens.size(), 1u);
  EXPECT_EQ(*new_tokens.rbegin(), 50);
  // A row as the published program writes it, with what the model saw.
  const json row = lines_of(read_text(out / "full/128/vt.jsonl")).front();
  EXPECT_EQ(row["index"], 10);
  EXPECT_TRUE(row["input"].get<std::string>().find(" lookup ") != std::string::npos ||
              row["input"].get<std::string>().find(" follow ") != std::string::npos)
      << row["input"];
  // The same as --score has.
  const Outcome again = elastron(0, "benchmark ruler --score " + (out / "full/256") + " --out " +
                                        (out / "again.json") + " --csv " + (out / "again"));
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(read_text(out / "again.json"), read_text(out / "full/256/result.json"));
  EXPECT_EQ(read_text(out / "again/summary.csv"), read_text(out / "full/256/summary.csv"));
  EXPECT_EQ(read_text(out / "again/submission.csv"), read_text(out / "full/256/submission.csv"));

  ASSERT_EQ(ruler(0, out / "sparse", "--force sparse --task vt").code, 0);
  const json sparse =
      json::parse(read_text(out / "sparse/results.json"))["results"]["256"]["tasks"];
  EXPECT_EQ(sparse.size(), 1u);
  EXPECT_EQ(sparse["vt"]["msr"], 1.0);
  EXPECT_LT(sparse["vt"]["score"], 50.0);
  EXPECT_GT(sparse["vt"]["esr"], 0.1);
  EXPECT_LT(sparse["vt"]["cache_kept"], 0.5);
}

TEST_F(BenchmarkRun, IsTheSameOnAnyLayout) {
  const Scratch out;
  const std::string gates = "--force random:0.5:3 ";
  ASSERT_EQ(ruler(0, out / "one", gates).code, 0);
  const auto whole = made_by(out / "one");
  EXPECT_EQ(whole.size(), 13u);  // seven of predictions, and three beside each length's
  struct Case {
    int ranks;
    const char* more;
  };
  for (const Case& c :
       {Case{0, "--batch 1"}, Case{2, "--tensor 1 --batch 2"}, Case{2, "--tensor 2"},
        Case{3, "--tensor 1 --batch 7"}, Case{4, "--tensor 2 --batch 1"},
        Case{2, "--context 2 --batch 3"}, Case{4, "--tensor 1 --context 2"}}) {
    const Scratch other;
    const Outcome o = ruler(c.ranks, other.path(), gates + c.more);
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(made_by(other.path()), whole) << c.ranks << " " << c.more;
  }
}

TEST_F(BenchmarkRun, StoppedAnywhereAndGoneOnWith) {
  const Scratch out;
  ASSERT_EQ(ruler(0, out / "whole").code, 0);
  const auto whole = made_by(out / "whole");
  // A disk that takes no more ends it in the middle of a file, or of a row; the next start goes on.
  const std::string parts = out / "parts";
  int stopped = 0;
  for (int blocks = 1; blocks <= 8; blocks *= 2) {
    const Outcome o =
        ruler(0, parts, "", "trap '' XFSZ; ulimit -f " + std::to_string(blocks) + ";");
    if (o.code == 0) continue;
    ++stopped;
    expect_error(o, 2, {"could not be written", parts});
  }
  EXPECT_GT(stopped, 0);
  const Outcome rest = ruler(0, parts, "--batch 2");
  ASSERT_EQ(rest.code, 0) << rest.err;
  EXPECT_EQ(made_by(parts), whole);
  // Files cut off anywhere, as by a kill; figures may be of a row more.
  for (const uintmax_t share : {0, 1, 3, 5, 8}) {
    const std::string copy = out / "copy";
    fs::remove_all(copy);
    fs::copy(out / "whole", copy, fs::copy_options::recursive);
    for (const auto& [name, text] : whole) {
      if (!name.ends_with(".jsonl")) continue;
      fs::resize_file(copy + name, text.size() * share / 9);
    }
    const Outcome o = ruler(share % 2 == 0 ? 0 : 2, copy, "--tensor 1");
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(made_by(copy), whole) << share;
    EXPECT_EQ(lines_of(read_text(copy + "/128/figures/vt.jsonl")).size(), 5u);
  }
  for (const char* seconds : {"0.1", "0.15", "0.2", "0.3"}) {
    ruler(0, out / "killed", "", std::string("timeout -s KILL ") + seconds);
  }
  ASSERT_EQ(ruler(0, out / "killed").code, 0);
  EXPECT_EQ(made_by(out / "killed"), whole);
}

TEST_F(BenchmarkRun, GoesOnOnlyWithItsOwn) {
  const Scratch out;
  ASSERT_EQ(ruler(0, out.path()).code, 0);
  expect_error(ruler(2, out.path(), "--force sparse"), 2,
               {"gates was 'none', is 'sparse'", "niah_single_1.jsonl", "--out"});
  expect_error(ruler(0, out.path(), "--decode full"), 2, {"decode was 'sparse', is 'full'"});
  // All is there: nothing is opened, and the table is the same again.
  const Outcome again = ruler(0, out.path());
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.out.find("100.00"), again.out.npos);
  fs::remove(out / "128/figures/vt.jsonl");
  expect_error(ruler(0, out.path()), 3, {"figures of 0 rows", "figures/vt.jsonl"});
}

TEST_F(BenchmarkRun, BadRowsAreNamedBeforeTheModelIsRead) {
  const Scratch bad;
  const std::string call =
      "benchmark ruler --model " + kModel + " --data " + bad.path() + " --out " + (bad / "out");
  expect_error(elastron(0, call), 3, {"no data of RULER's tasks", bad.path()});
  const std::string first = R"({"index": 0, "input": "find", "outputs": ["v1"]})";
  for (const int ranks : {0, 2}) {
    bad.write("vt/validation.jsonl", first + "\n{\"index\": 1, \"outputs\": [\"v1\"]}\n");
    expect_error(elastron(ranks, call), 3, {"field 'input' is missing", "vt/validation.jsonl:2"});
    bad.write("vt/validation.jsonl", first + "\n{\"index\": 1, \"input\": \"\xff\"}\n");
    expect_error(elastron(ranks, call), 3, {"UTF-8", "vt/validation.jsonl:2"});
    bad.write("vt/validation.jsonl", "[]");
    expect_error(elastron(ranks, call), 3, {"the set has no rows", "vt/validation.jsonl"});
    bad.write("vt/validation.jsonl", R"({"index": 3, "input": " ", "outputs": ["v1"]})");
    expect_error(elastron(ranks, call), 3, {"the prompt is empty", "vt/validation.jsonl, index 3"});
  }
  // Longer than the model's positions, and nothing may be cut.
  std::string text;
  for (int i = 0; i < 4090; ++i) text += "n1 ";
  bad.write("vt/validation.jsonl", json{{"index", 0}, {"input", text}, {"outputs", {"v1"}}}.dump());
  const Outcome beyond = elastron(0, call);
  EXPECT_NE(beyond.err.find("the model's positions cover 4096"), beyond.err.npos) << beyond.err;
  fs::remove_all(bad / "out");
  EXPECT_EQ(elastron(0, call + " --limit 200").code, 0);
  const json all = json::parse(read_text(bad / "out/results.json"))["results"]["all"];
  EXPECT_EQ(all["tasks"]["vt"]["truncated"], 1);
  expect_error(elastron(0, call + " --task qa_1"), 3, {"no data of 'qa_1'"});
  expect_error(elastron(0, call + " --chat"), 2, {"no chat template", "--chat"});
}

TEST_F(BenchmarkRun, ComparesWaysOfDecidingGates) {
  const Scratch s;
  const Outcome trained =
      elastron(0, "train " + std::string(ELASTRON_SOURCE_DIR) +
                      "/tests/launch/router.yaml --set train.steps=2 --set model.path=" + kModel +
                      " --set output.dir=" + (s / "run"));
  ASSERT_EQ(trained.code, 0) << trained.err;
  const std::string more = " --task vt niah_single_1 --compare --router " + (s / "run");
  const Outcome o = ruler(0, s / "out", more);
  ASSERT_EQ(o.code, 0) << o.err;
  const json compared = json::parse(read_text(s / "out/compare.json"));
  ASSERT_EQ(compared.size(), 5u);
  EXPECT_EQ(compared[0]["gates"], "full");
  EXPECT_EQ(compared[0]["cells"]["256"]["score"], 100.0);
  EXPECT_EQ(compared[0]["cells"]["256"]["msr"], 0.0);
  EXPECT_EQ(compared[1]["gates"], "router");
  EXPECT_EQ(compared[2]["gates"], "random-1");
  // A twelfth is one head of this model.
  const double routed = (compared[1]["cells"]["128"]["msr"].get<double>() +
                         compared[1]["cells"]["256"]["msr"].get<double>()) /
                        2;
  for (int i = 2; i < 5; ++i) {
    EXPECT_NEAR(compared[size_t(i)]["cells"]["256"]["msr"], routed, 1.5 / 12);
  }
  EXPECT_NE(o.out.find("score   MSR"), o.out.npos) << o.out;
  // Gone on with: the last way again, and nothing else.
  fs::remove_all(s / "out/random-3");
  const auto first = json::parse(read_text(s / "out/compare.json"));
  ASSERT_EQ(ruler(2, s / "out", more).code, 0);
  EXPECT_EQ(json::parse(read_text(s / "out/compare.json")), first);
  EXPECT_EQ(ruler(0, s / "x", "--compare").code, 2);
}

TEST_F(BenchmarkRun, ComparesWithScoresOfHeads) {
  const Scratch s;
  const std::string router = s / "run", heads = s / "a/heads.json";
  fs::create_directories(s / "a");
  ASSERT_EQ(elastron(0, "train " + std::string(ELASTRON_SOURCE_DIR) +
                            "/tests/launch/router.yaml --set train.steps=2 --set model.path=" +
                            kModel + " --set output.dir=" + router)
                .code,
            0);
  const Outcome scored =
      elastron(0, "score-heads --model " + kModel + " --out " + heads +
                      " --after 1 --set data.format=synthetic --set data.max_tokens=1100"
                      " --set data.synthetic.lengths=[64] --set data.synthetic.eval_per_kind=2");
  ASSERT_EQ(scored.code, 0) << scored.err;
  const auto compare = [&](int ranks, const std::string& out, const std::string& more) {
    return ruler(ranks, out, "--task vt --compare --router " + router + " " + more);
  };
  const Outcome o = compare(2, s / "out", "--tensor 1 --scores " + heads);
  ASSERT_EQ(o.code, 0) << o.err;
  const json compared = json::parse(read_text(s / "out/compare.json"));
  ASSERT_EQ(compared.size(), 6u);
  EXPECT_EQ(compared[2]["gates"], "scores-heads");
  const json settings = json::parse(read_text(s / "out/scores-heads/results.json"))["settings"];
  EXPECT_EQ(settings["gates"].get<std::string>().find("scores:" + heads + ":0."), 0u) << settings;
  // The heads that score least are sparse, as many as random gates have.
  const json msr = compared[2]["cells"]["256"]["msr"];
  EXPECT_EQ(msr, compared[3]["cells"]["256"]["msr"]);
  EXPECT_GT(msr, 0.0);
  EXPECT_LT(msr, 1.0);
  EXPECT_GE(compared[2]["cells"]["256"]["score"], compared[3]["cells"]["256"]["score"]);

  // Found before a row is answered.
  s.write("bad.json", "{}");
  for (const int ranks : {0, 2}) {
    expect_error(compare(ranks, s / "x", "--scores " + heads + " " + (s / "bad.json")), 3,
                 {"bad.json"});
    expect_error(compare(ranks, s / "x", "--scores " + (s / "none.json")), 3, {"none.json"});
    EXPECT_TRUE(made_by(s / "x/router").empty() || read_text(s / "x/router/128/vt.jsonl").empty());
  }
  s.write("b/heads.json", read_text(heads));
  expect_error(compare(0, s / "x", "--scores " + heads + " " + (s / "b/heads.json")), 2,
               {"named alike", "b/heads.json"});
  expect_error(ruler(0, s / "x", "--scores " + heads), 2, {"--scores is for --compare"});
  expect_error(elastron(0, "benchmark ruler --score " + (s / "out/full/128") + " --out " +
                               (s / "x.json") + " --scores " + heads),
               2, {"--score has predictions already"});
}

// The least that the longest row may need: rows are asked one after the other. Less is refused.
TEST_F(BenchmarkRun, CachesAreBounded) {
  const Scratch out;
  const std::string gates = "--force random:0.5:3 ";
  ASSERT_EQ(ruler(0, out / "free", gates).code, 0);
  std::string needed;
  for (const int ranks : {2, 0}) {
    for (const char* gb : {"0.00001", "1e-15"}) {
      const Outcome o = ruler(ranks, out / "little", gates + "--cache " + gb);
      expect_error(o, 2, {"the longest row of ", " may need ", "(--cache)"});
      const std::string before = " may need ";
      needed = o.err.substr(o.err.find(before) + before.size(), 8);
    }
  }
  const double gb = std::stod(needed) + 1e-6;
  const Outcome bounded = ruler(0, out / "little", gates + "--cache " + std::to_string(gb));
  ASSERT_EQ(bounded.code, 0) << bounded.err;
  EXPECT_EQ(made_by(out / "little"), made_by(out / "free"));
  // Less than it by two thousandths of a megabyte.
  expect_error(ruler(0, out / "less", gates + "--cache " + std::to_string(gb - 2e-6)), 2,
               {"(--cache)"});
  expect_error(elastron(0, "benchmark perplexity --model " + kModel + " --data " + data_->path() +
                               " --out " + (out / "x") + " --cache 1"),
               2, {"--cache is for answers"});
}

}  // namespace
}  // namespace elastron::test
