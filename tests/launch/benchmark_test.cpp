// elastron benchmark --score and synthesize --ruler, as a user calls them.
#include <gtest/gtest.h>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

using nlohmann::json;

const std::string kTokenizer = std::string(ELASTRON_TEST_FIXTURES) + "/tokenizer/qwen3";

TEST(Benchmark, ScoresLongBenchE) {
  const Scratch scratch;
  scratch.write("pred/hotpotqa.jsonl",
                R"({"pred": "Paris", "answers": ["paris."], "all_classes": null, "length": 5000})");
  const Outcome o =
      elastron(0, "benchmark longbench --e --score " + (scratch / "pred") + " --out " +
                      (scratch / "result.json") + " --details " + (scratch / "details.json"));
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(json::parse(read_text(scratch / "result.json")),
            json({{"hotpotqa", {{"0-4k", nullptr}, {"4-8k", 100.0}, {"8k+", nullptr}}}}));
  EXPECT_EQ(json::parse(read_text(scratch / "details.json"))["sets"]["hotpotqa"]["rows"], 1);
  EXPECT_NE(o.out.find("hotpotqa"), o.out.npos);
  EXPECT_NE(o.out.find("missing"), o.out.npos);
}

TEST(Benchmark, BadRowsAndArguments) {
  const Scratch scratch;
  const std::string out = " --out " + (scratch / "result.json");
  scratch.write("pred/vt.jsonl", "{\"index\": 0, \"pred\": \"a\", \"outputs\": [\"a\"]}\n{}\n");
  expect_error(elastron(0, "benchmark ruler --score " + (scratch / "pred") + out), 3,
               {"field 'pred' is missing", "vt.jsonl:2"});
  expect_error(elastron(0, "benchmark longbench --score " + (scratch / "pred") + out), 3,
               {"'vt' is no set of LongBench"});
  expect_error(elastron(0, "benchmark ruler --score " + (scratch / "none") + out), 3,
               {"cannot list the folder", "none"});
  EXPECT_EQ(elastron(0, "benchmark ruler --e --score x" + out).code, 2);
  EXPECT_EQ(elastron(0, "benchmark other --score x" + out).code, 2);
}

TEST(Benchmark, OwnTasksAreMadeAndScored) {
  const Scratch scratch;
  const std::string make = "synthesize --ruler --model " + kTokenizer +
                           " --records 2 --length 3000 --depth 0 100 --kind niah_single_2 qa_1";
  const Outcome o = elastron(0, make + " --out " + (scratch / "tasks"));
  ASSERT_EQ(o.code, 0) << o.err;
  const std::string file = "/elastron-niah_single_2/validation.jsonl";
  const std::string rows = read_text(scratch / "tasks" + file);
  const json row = json::parse(rows.substr(0, rows.find('\n')));
  EXPECT_EQ(row["others"]["depth_percent"], 0.0);
  EXPECT_LE(row["length"], 3000);
  EXPECT_EQ(elastron(0, make + " --out " + (scratch / "again")).code, 0);
  EXPECT_EQ(read_text(scratch / "again" + file), rows);

  json prediction = row;
  prediction["pred"] = row["outputs"][0];
  scratch.write("pred/elastron-niah_single_2.jsonl", prediction.dump());
  ASSERT_EQ(elastron(0, "benchmark ruler --score " + (scratch / "pred") + " --out " +
                            (scratch / "result.json") + " --csv " + (scratch / "pred"))
                .code,
            0);
  EXPECT_EQ(json::parse(read_text(scratch / "result.json")),
            json({{"elastron-niah_single_2", 100.0}}));
  EXPECT_EQ(read_text(scratch / "pred/summary-elastron-niah_single_2.csv"),
            "0,1\nTasks,elastron-niah_single_2\nScore,100.0\nNulls,0/1\n");

  expect_error(elastron(0, make + " nothing --out " + (scratch / "tasks")), 2,
               {"unknown kind 'nothing'", "niah_single_1"});
  EXPECT_EQ(elastron(0, "synthesize --ruler --out x").code, 2);
  EXPECT_EQ(elastron(0, "synthesize --depth 5 --out x").code, 2);
}

}  // namespace
}  // namespace elastron::test
