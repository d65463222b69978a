// What a report is made of is told apart by what is in it; what is none of it is one error.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "core/error.h"
#include "report/inputs/input.h"
#include "tests/support/scratch.h"

namespace elastron::report {
namespace {

using test::Scratch;

const std::string kFixtures = std::string(ELASTRON_TEST_FIXTURES) + "/report";

// The error's line; "" where there was none.
std::string error_of(const std::string& path, ExitCode* kind = nullptr) {
  try {
    (void)read_input(path);
    return "";
  } catch (const Error& error) {
    if (kind != nullptr) *kind = error.kind();
    return error.what();
  }
}

TEST(Inputs, ARun) {
  const auto run = std::get<TrainingRun>(read_input(kFixtures + "/runs/first"));
  EXPECT_EQ(run.metrics.last_step, 20);
  EXPECT_EQ(run.metrics.logged, 20);
  EXPECT_EQ(run.value("train.steps"), "20");
  EXPECT_EQ(run.value("router.reg.t_sen"), "0.5");
  EXPECT_EQ(run.value("data.synthetic.lengths"), "[128, 256]");
  EXPECT_EQ(run.ranks, 1);
  ASSERT_EQ(run.announced.size(), 5U);
  EXPECT_EQ(run.announced[0].substr(0, 9), "elastron ");
  EXPECT_EQ(run.announced[4], "data 1 x context 1 x tensor 1");
  EXPECT_FALSE(run.going_on);
  EXPECT_FALSE(run.id.empty());
  const FigureSeries& loss = run.metrics.of_steps.at("loss");
  ASSERT_EQ(loss.size(), 1U);
  EXPECT_EQ(loss.at("").steps.size(), 20U);
  EXPECT_EQ(run.metrics.of_evaluations.at("eval_loss").at("").steps,
            (std::vector<double>{5, 10, 15, 20}));
  EXPECT_EQ(run.metrics.of_steps.at("lambda1").size(), 5U);
}

TEST(Inputs, Results) {
  const auto evaluation = std::get<Evaluation>(read_input(kFixtures + "/eval.json"));
  EXPECT_EQ(evaluation.rows.size(), 6U);
  const auto comparison = std::get<BenchmarkComparison>(read_input(kFixtures + "/ruler_results"));
  EXPECT_EQ(comparison.runs.size(), 5U);
  ASSERT_EQ(comparison.parts.size(), 3U);
  EXPECT_EQ(comparison.parts[0].name, "full");
  EXPECT_EQ(std::get<Benchmark>(read_input(kFixtures + "/ruler_results/full")).benchmark, "ruler");
  const auto perplexity = std::get<Perplexity>(read_input(kFixtures + "/perplexity"));
  EXPECT_EQ(names_in(perplexity.results), (std::vector<std::string>{"32", "64", "128"}));
  const auto reward = std::get<RewardReport>(read_input(kFixtures + "/reward"));
  EXPECT_FALSE(reward.depends_on.empty());
  const auto heads = std::get<HeadMap>(read_input(kFixtures + "/scores.json"));
  ASSERT_EQ(heads.maps.size(), 2U);
  EXPECT_EQ(heads.maps[0].second.size(), 3U);
}

TEST(Inputs, GatesAndScoresAlone) {
  const Scratch s;
  const auto gates = std::get<HeadMap>(read_input(s.write("gates.json", "[[1, 0], [0.5, 1]]")));
  EXPECT_EQ(gates.maps[0].first, "gate");
  EXPECT_EQ(gates.maps[0].second[1][0], 0.5);
  const auto scored = std::get<Benchmark>(read_input(s.write(
      "details.json", R"({"benchmark": "ruler", "tasks": {"vt": {"score": 50, "rows": 4}}})")));
  EXPECT_EQ(scored.results["all"]["tasks"]["vt"]["score"], 50);
}

TEST(Inputs, NamesAreAsShortAsTheyMayBe) {
  const auto inputs = read_inputs(
      {kFixtures + "/runs/first/", kFixtures + "/runs/second", kFixtures + "/eval.json"});
  EXPECT_EQ(std::get<TrainingRun>(inputs[0]).name, "runs/first");
  EXPECT_EQ(std::get<TrainingRun>(inputs[1]).name, "runs/second");
  EXPECT_EQ(std::get<Evaluation>(inputs[2]).name, "eval.json");
  EXPECT_EQ(std::get<TrainingRun>(read_inputs({kFixtures + "/runs/first"})[0]).name, "first");
  EXPECT_THROW(read_inputs({kFixtures + "/runs/first", kFixtures + "/runs/first/"}), UsageError);
}

TEST(Inputs, WhatIsNoneIsAnError) {
  const Scratch s;
  ExitCode kind = ExitCode::ok;
  EXPECT_NE(error_of(s / "nowhere", &kind).find("there is no such file or folder"),
            std::string::npos);
  EXPECT_EQ(kind, ExitCode::input);
  EXPECT_NE(error_of(s.path()).find("neither a run nor results"), std::string::npos);
  for (const char* text : {"{}", "[]", "3", "[[1], [2, 3]]", "[{}]", R"({"gates": "full"})",
                           R"({"benchmark": 3})", R"({"judge": "scores", "total": 3})"}) {
    EXPECT_NE(error_of(s.write("x.json", text), &kind).find("no report is made of"),
              std::string::npos)
        << text;
    EXPECT_EQ(kind, ExitCode::input);
  }
  EXPECT_NE(error_of(s.write("x.json", "{\"a\": ")), "");
  EXPECT_NE(error_of(s.write("x.json", "")), "");
  s.write("unfinished/rows.jsonl", "");
  EXPECT_NE(error_of(s / "unfinished").find("not finished"), std::string::npos);
}

TEST(Inputs, BrokenLinesOfMetricsAreNamed) {
  const Scratch s;
  const std::string good = R"({"step": 1, "loss": 0.5})";
  const auto with = [&](const std::string& more) {
    return error_of(std::filesystem::path(s.write("run/metrics.jsonl", good + "\n" + more))
                        .parent_path()
                        .string());
  };
  EXPECT_EQ(with(""), "");
  EXPECT_EQ(with("{\"step\": 2, \"lo"), "");  // it is being written
  for (const char* bad : {"{\"step\": 2, \"lo\n", "3\n", "{}\n", "{\"step\": \"2\"}\n",
                          "{\"step\": 1.5}\n", "\n", "{\"step\": 1, \"loss\": 1}\n"}) {
    EXPECT_NE(with(bad).find("metrics.jsonl:2"), std::string::npos) << bad << with(bad);
  }
}

TEST(Inputs, NumbersThatAreNone) {
  const Scratch s;
  const std::string path =
      s.write("metrics.jsonl",
              "{\"step\": 1, \"loss\": null, \"by\": {\"a\": 1, \"b\": null}, \"x\": \"text\"}\n"
              "{\"step\": 1, \"event\": \"skipped\", \"in_a_row\": 1}\n");
  const MetricsSeries m = read_metrics(path);
  EXPECT_TRUE(std::isnan(m.of_steps.at("loss").at("").values[0]));
  EXPECT_EQ(m.of_steps.at("by").at("a").values[0], 1);
  EXPECT_FALSE(m.of_steps.contains("x"));
  EXPECT_EQ(m.skipped, std::vector<double>{1});
  EXPECT_EQ(read_metrics(s / "none").logged, 0);
  EXPECT_EQ(read_metrics(s.write("empty", "")).logged, 0);
}

}  // namespace
}  // namespace elastron::report
