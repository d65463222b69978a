// elastron benchmark longbench, longbench-v2 and perplexity with a model, as a user calls them.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/launch/benchmark_documents.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Sets of the published files' form, with words that the backbone knows.
void make_longbench(const Scratch& scratch) {
  std::string rows;
  for (const json& d : documents("needle", 160, 4)) {
    rows += json{{"input", "find the secret"},
                 {"context", d["context"]},
                 {"answers", {d["answer"], "no"}},
                 {"length", rows.empty() ? 5000 : 100},
                 {"dataset", "qasper"},
                 {"language", "en"},
                 {"all_classes", nullptr},
                 {"_id", "a"}}
                .dump() +
            "\n";
  }
  scratch.write("data/qasper_e.jsonl", rows);
  scratch.write("data/qasper.jsonl", rows);
  scratch.write("data/samsum_e.jsonl", rows);
  scratch.write("config/dataset2prompt.json",
                R"({"qasper": "{context} {input}", "samsum": "{context} copy {input}"})");
  scratch.write("config/dataset2maxlen.json", R"({"qasper": 4, "samsum": 12})");
}

TEST(BenchmarkLongBench, IsAskedAndScored) {
  const Scratch s;
  make_longbench(s);
  const auto longbench = [&](int ranks, const std::string& out, const std::string& more = "") {
    return elastron(ranks, "benchmark longbench --model " + kModel + kRouting + " --data " +
                               s.path() + " --prompts " + (s / "config") + " --out " + out + " " +
                               more);
  };
  const Outcome o = longbench(0, s / "out", "--e");
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find("no chat template"), o.err.npos) << o.err;
  const json published = json::parse(read_text(s / "out/result.json"));
  EXPECT_EQ(published["qasper"], json({{"0-4k", 100.0}, {"4-8k", 100.0}, {"8k+", nullptr}}));
  const json all = json::parse(read_text(s / "out/results.json"))["results"]["all"];
  EXPECT_EQ(all["sets"]["qasper"]["rows"], 4);
  EXPECT_EQ(all["sets"]["qasper"]["msr"], 0.0);
  EXPECT_EQ(all["groups"]["S-Doc QA"]["score"], nullptr);  // multifieldqa_en is missing
  int64_t in_buckets = 0;
  for (const auto& [name, bucket] : all["sets"]["qasper"]["buckets"].items()) {
    in_buckets += bucket["rows"].get<int64_t>();
    EXPECT_EQ(bucket.contains("msr"), bucket["rows"] > 0) << name;
    if (bucket["rows"] > 0) {
      EXPECT_EQ(bucket["empty"], 0);
      EXPECT_EQ(bucket["cache_kept"], 1.0);
      EXPECT_NE(o.out.find(name), o.out.npos) << o.out;
    }
  }
  EXPECT_EQ(in_buckets, 4);
  const auto rows = lines_of(read_text(s / "out/qasper.jsonl"));
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0]["length"], 5000);
  EXPECT_EQ(rows[0]["answers"][1], "no");
  for (const int tensor : {1, 2}) {
    const Scratch other;
    ASSERT_EQ(longbench(2, other.path(), "--e --batch 1 --tensor " + std::to_string(tensor)).code,
              0);
    EXPECT_EQ(made_by(other.path()), made_by(s / "out"));
  }
  // A cut prompt still has its question.
  ASSERT_EQ(longbench(0, s / "cut", "--limit 40 --task qasper").code, 0);
  EXPECT_EQ(json::parse(
                read_text(s / "cut/results.json"))["results"]["all"]["sets"]["qasper"]["truncated"],
            4);

  s.write("config/dataset2prompt.json", R"({"qasper": "{input}"})");
  expect_error(longbench(2, s / "x"), 3, {"no {context}", "dataset2prompt.json"});
  s.write("config/dataset2prompt.json", R"({"other": "{context}"})");
  expect_error(longbench(0, s / "x"), 3, {"nothing for the set 'qasper'", "dataset2prompt.json"});
  make_longbench(s);
  s.write("data/qasper.jsonl", "{\"input\": \"a\", \"context\": \"b\"}");
  expect_error(longbench(2, s / "x"), 3, {"field 'answers' is missing", "qasper.jsonl:1"});
  expect_error(longbench(0, s / "x", "--task trec"), 3, {"no data of 'trec'"});
  expect_error(longbench(0, s / "x", "--task vcsum"), 3, {"jieba"});
}

TEST(BenchmarkLongBenchV2, AsksOnceOrForThoughtsFirst) {
  const Scratch s;
  json rows = json::array();
  for (int i = 0; i < 3; ++i) {
    rows.push_back({{"_id", "r" + std::to_string(i)},
                    {"domain", "d"},
                    {"sub_domain", "s"},
                    {"difficulty", i == 0 ? "easy" : "hard"},
                    {"length", i == 1 ? "long" : "short"},
                    {"question", " find the secret "},
                    {"choice_A", "n1"},
                    {"choice_B", "n2"},
                    {"choice_C", "n3"},
                    {"choice_D", "n4"},
                    {"answer", "A"},
                    {"context", "secret v3 . n1 n2 $Q$ n3"}});
  }
  s.write("data.json", rows.dump());
  s.write("prompts/0shot.txt", "$DOC$ $C_A$ $C_B$ $C_C$ $C_D$ $Q$");
  s.write("prompts/0shot_cot.txt", "$DOC$ about $Q$");
  s.write("prompts/0shot_cot_ans.txt", "$DOC$ $COT$ $Q$");
  s.write("prompts/0shot_no_context.txt", "$C_A$ $Q$");
  const auto v2 = [&](int ranks, const std::string& out, const std::string& more = "") {
    return elastron(ranks, "benchmark longbench-v2 --model " + kModel + kRouting + " --data " +
                               s.path() + " --prompts " + (s / "prompts") + " --out " + out + " " +
                               more);
  };
  const Outcome o = v2(0, s / "out");
  ASSERT_EQ(o.code, 0) << o.err;
  const auto made = lines_of(read_text(s / "out/backbone.jsonl"));
  ASSERT_EQ(made.size(), 3u);
  EXPECT_EQ(made[0]["judge"], false);
  const json all = json::parse(read_text(s / "out/results.json"))["results"]["all"];
  EXPECT_EQ(all["files"]["backbone"]["rows"], 3);
  EXPECT_EQ(all["files"]["backbone"]["unanswered"], 3);
  ASSERT_EQ(v2(0, s / "out", "--cot").code, 0);
  ASSERT_EQ(v2(2, s / "out", "--no-context --tensor 1").code, 0);
  const auto thoughts = lines_of(read_text(s / "out/backbone_cot.jsonl"));
  EXPECT_TRUE(thoughts.at(2).contains("response_cot"));
  EXPECT_TRUE(fs::exists(s / "out/backbone_no_context.jsonl"));
  const Scratch other;
  ASSERT_EQ(v2(2, other.path(), "--cot --tensor 1 --batch 1").code, 0);
  EXPECT_EQ(read_text(other / "backbone_cot.jsonl"), read_text(s / "out/backbone_cot.jsonl"));
  expect_error(v2(0, s / "out", "--cot --no-context"), 2, {"--no-context"});
}

// The last word of a document is the answer, which full attention foresees, and all others are
// drawn: a score of the word before or behind would be as high as theirs.
TEST(BenchmarkPerplexity, OfTheEndsOfDocuments) {
  const Scratch s;
  std::string rows;
  int64_t words = 0;
  for (const json& d : documents("needle", 128, 6)) {
    const std::string text = d["context"].get<std::string>() + " " +
                             d["question"].get<std::string>() + " " +
                             d["answer"].get<std::string>();
    words = 1 + std::ranges::count(text, ' ');
    rows += json{{"text", text}}.dump() + "\n";
  }
  s.write("texts/a.jsonl", rows);
  s.write("texts/b.txt", "n1 n2 n3");  // too short to count
  const auto perplexity = [&](int ranks, const std::string& out, const std::string& more = "") {
    return elastron(ranks, "benchmark perplexity --model " + kModel + kRouting +
                               " --force sparse --data " + (s / "texts") + " --out " + out +
                               " --length " + std::to_string(words) + " --window 1 " + more);
  };
  const Outcome o = perplexity(0, s / "out");
  ASSERT_EQ(o.code, 0) << o.err;
  const json all = json::parse(read_text(s / "out/results.json"))["results"][std::to_string(words)];
  EXPECT_EQ(all["documents"], 6);
  EXPECT_LT(all["full"]["perplexity"], 1.1);
  EXPECT_GE(all["full"]["perplexity"], 1.0);
  EXPECT_EQ(all["full"]["msr"], 0.0);
  EXPECT_GT(all["perplexity"], 2.0);
  EXPECT_EQ(all["msr"], 1.0);
  EXPECT_NE(o.out.find("perplexity"), o.out.npos);
  for (const int tensor : {1, 2, 0}) {
    const Scratch other;
    const Outcome again = perplexity(
        2, other.path(), tensor > 0 ? "--tensor " + std::to_string(tensor) : "--context 2");
    ASSERT_EQ(again.code, 0) << again.err;
    const json there =
        json::parse(read_text(other / "results.json"))["results"][std::to_string(words)];
    EXPECT_NEAR(there["perplexity"].get<double>() / all["perplexity"].get<double>(), 1, 1e-5);
    if (tensor == 1) {
      EXPECT_EQ(read_text(other / "gates.jsonl"), read_text(s / "out/gates.jsonl"));
    }
  }
  // Stopped within a row, and gone on with.
  const std::string whole = read_text(s / "out/full.jsonl");
  fs::resize_file(s / "out/full.jsonl", whole.size() / 2);
  ASSERT_EQ(perplexity(2, s / "out", "--tensor 1").code, 0);
  EXPECT_EQ(read_text(s / "out/full.jsonl"), whole);
  expect_error(perplexity(0, s / "out", "--length 100"), 2, {"lengths was"});
  expect_error(perplexity(2, s / "x", "--length 5000"), 3, {"no text has 5000 tokens"});
  s.write("texts/b.txt", "n1 \xff");
  expect_error(perplexity(2, s / "x"), 3, {"not UTF-8", "b.txt"});
  s.write("texts/b.txt", "n1");
  s.write("texts/a.jsonl", "{\"txt\": 1}");
  expect_error(perplexity(0, s / "x"), 3, {"field 'text' is missing", "a.jsonl:1"});
}

}  // namespace
}  // namespace elastron::test
