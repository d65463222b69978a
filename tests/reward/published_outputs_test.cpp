// Output files of the published evaluator, and the one public answer.
#include "reward/published_outputs.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "reward/benchmark_report.h"
#include "tests/data/support.h"

namespace elastron::reward {
namespace {

using data::test::error_of;
using data::test::Scratch;

const std::string kRow =
    R"({"question": "q", "meta": {"a": [1]}, "index": 556, "shuffled_order": [1, 0], )"
    R"("subtask": "longgenbench_short_sequantial", "task": "sequential", "ctx_length": "64k", )"
    R"("LEN": 49728, "output": "I say [[B]]", "benchmark": "MemRewardBench", )"
    R"("chosen_length": 24931, "rejected_length": 23850, "prefill_sparsity": null})";

std::string with(std::string row, const std::string& from, const std::string& to) {
  return row.replace(row.find(from), from.size(), to);
}

class PublishedOutputs : public ::testing::Test {
 protected:
  std::vector<JudgedRow> read(const std::string& text) {
    return read_published_outputs(folder_.write("Long-form_Generation.jsonl", text));
  }
  std::string error(const std::string& text) {
    return error_of<InputError>([&] { read(text); });
  }
  Scratch folder_;
};

TEST_F(PublishedOutputs, AreJudgedRows) {
  const std::string other = with(with(kRow, "556", "3"), "[1, 0]", "[0, 1]");
  const auto rows = read(kRow + "\n\n" + with(other, "I say [[B]]", "[[A]]") + "\n");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].file, "Long-form_Generation");
  EXPECT_EQ(rows[0].index, 556);
  EXPECT_EQ(rows[0].setting, "sequential");
  EXPECT_EQ(rows[0].subtask, "longgenbench_short_sequantial");
  EXPECT_EQ(rows[0].length, "64k");
  EXPECT_EQ(rows[0].tokens_chosen, 24931);
  EXPECT_EQ(rows[0].tokens_rejected, 23850);
  EXPECT_EQ(rows[0].judgement->prompt_tokens, 49728);
  EXPECT_FALSE(rows[0].judgement->chosen_is_a);
  EXPECT_FALSE(rows[0].judgement->right(VerdictRule::strict));
  EXPECT_TRUE(rows[0].judgement->right(VerdictRule::lenient));
  EXPECT_TRUE(rows[1].judgement->chosen_is_a);
  EXPECT_TRUE(rows[1].judgement->right(VerdictRule::strict));
  EXPECT_EQ(BenchmarkReport({"Long-form_Generation"}, rows)
                .summary()["baselines"]["longer_wins"]["accuracy"],
            1.0);
}

TEST_F(PublishedOutputs, OnlyTheVerdictNeedsToBeThere) {
  const auto rows = read(
      R"({"index": 0, "shuffled_order": [0, 1], "task": "t", "ctx_length": "8k", "output": ""})"
      "\n");
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].subtask, "");
  EXPECT_EQ(rows[0].tokens_chosen, 0);
  EXPECT_FALSE(rows[0].judgement->right(VerdictRule::lenient));
}

TEST_F(PublishedOutputs, WhatIsMissingOrMistypedNamesFileLineAndField) {
  const auto second = [&](const std::string& from, const std::string& to) {
    return error(with(kRow, "556", "1") + "\n" + with(kRow, from, to) + "\n");
  };
  for (const char* name : {"index", "shuffled_order", "task", "ctx_length", "output"}) {
    const std::string quoted = "\"" + std::string(name) + "\"";
    const std::string e = second(quoted, "\"x\"");
    EXPECT_NE(e.find("'" + std::string(name) + "' is missing"), std::string::npos) << e;
    EXPECT_NE(e.find("Long-form_Generation.jsonl:2"), std::string::npos) << e;
  }
  EXPECT_NE(second("556", "\"556\"").find("'index' is not a whole number"), std::string::npos);
  EXPECT_NE(second("556", "-1").find("'index' is negative"), std::string::npos);
  EXPECT_NE(second("\"I say [[B]]\"", "[\"[[B]]\"]").find("'output' is not a string"),
            std::string::npos);
  EXPECT_NE(second("\"64k\"", "\"65k\"").find("'ctx_length' is none of"), std::string::npos);
  EXPECT_NE(second("24931", "-1").find("'chosen_length' is negative"), std::string::npos);
  for (const char* order : {"[1, 1]", "[0]", "\"[0, 1]\"", "[0, 1, 2]", "{}"}) {
    EXPECT_NE(second("[1, 0]", order).find("'shuffled_order' is neither"), std::string::npos)
        << order;
  }
  EXPECT_NE(error(kRow + "\n" + kRow + "\n").find("index 556 is in line 1 too"), std::string::npos);
  EXPECT_NE(error("[]\n").find("not a JSON object"), std::string::npos);
  EXPECT_NE(error(kRow.substr(0, 40)).find("Long-form_Generation.jsonl:1"), std::string::npos);
}

// The one public raw result: 0.0 by the strict rule, though its verdict is right.
TEST_F(PublishedOutputs, TheRealRow) {
  std::ifstream in(ELASTRON_TEST_FIXTURES "/memory_reward_bench/judge_prompt_example.json");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto rows = read(nlohmann::json::parse(text).dump() + "\n");
  const BenchmarkReport report({"Long-form_Generation"}, rows);
  EXPECT_EQ(report.results_csv(),
            ",Task,Long-form_Generation,Avg.\n"
            "0,8k,-1.0,-1.0\n"
            "1,16k,-1.0,-1.0\n"
            "2,32k,-1.0,-1.0\n"
            "3,64k,0.0,0.0\n"
            "4,128k,-1.0,-1.0\n"
            "5,AVG.,0.0,0.0\n");
  EXPECT_EQ(report.summary()["total"]["lenient"]["accuracy"], 1.0);
}

}  // namespace
}  // namespace elastron::reward
