// Whole pages of what real runs left (tests/oracle/make_report_fixtures.py).
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "core/error.h"
#include "core/json.h"
#include "report/inputs/fields.h"
#include "report/markup.h"
#include "report/report.h"
#include "report/sections/figure_texts.h"
#include "tests/report/markup_fault.h"
#include "tests/support/scratch.h"

namespace elastron::report {
namespace {

using test::Scratch;

const std::string kFixtures = std::string(ELASTRON_TEST_FIXTURES) + "/report/";

std::string read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::string page_of(const std::vector<std::string>& paths) {
  std::vector<std::string> full;
  for (const std::string& path : paths) full.push_back(path[0] == '/' ? path : kFixtures + path);
  const std::string html =
      report_page({.paths = full, .made_by = "a test", .refresh_seconds = {}}).text;
  EXPECT_EQ(test::markup_fault(html.substr(html.find('\n') + 1), " meta link "), "");
  return html;
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

// The CSV file that a page's link holds under that name.
std::string csv_in(const std::string& html, const std::string& name) {
  const std::string begin = "download=\"" + name + ".csv\" href=\"data:text/csv;charset=utf-8,";
  const size_t at = html.find(begin);
  if (at == html.npos) return "no " + name;
  const std::string encoded =
      html.substr(at + begin.size(), html.find('"', at + begin.size()) - at - begin.size());
  std::string text;
  for (size_t i = 0; i < encoded.size(); ++i) {
    if (encoded[i] != '%') {
      text += encoded[i];
      continue;
    }
    text += char(std::stoi(encoded.substr(i + 1, 2), nullptr, 16));
    i += 2;
  }
  return text;
}

TEST(ReportPage, ARunHasItsCurvesAndTheirNumbers) {
  const std::string html = page_of({"runs/first"});
  // The file's own numbers, read apart from the report.
  std::string loss = "step,loss (nats)\r\n", msr = "step,Code,";
  std::istringstream lines(read(kFixtures + "runs/first/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const auto object = nlohmann::json::parse(line);
    if (object.contains("event")) continue;
    loss += std::to_string(object["step"].get<int>()) + "," + exact(object["loss"]) + "\r\n";
  }
  EXPECT_EQ(csv_in(html, "loss--nats-"), loss);
  const std::string by_task = csv_in(html, "msr_by_task--share-");
  EXPECT_EQ(by_task.substr(0, by_task.find("\r\n")),
            "step,Code,In-Context Learning,MultiHop QA,Single QA,Summarization,Code target,"
            "In-Context Learning target,MultiHop QA target,Single QA target,Summarization target");
  for (const char* title :
       {"lambda1", "lambda2", "tau", "grad_norm", "Learning rates", "esr_all_layers_area (share)",
        "eval_loss (nats)", "eval_accuracy_by_kind (share)", "tokens_per_second (1/s)"}) {
    EXPECT_EQ(count(html, std::string("<strong>") + title + "</strong>"), 1U) << title;
  }
  for (const char* group :
       {"Loss and optimiser", "Routing", "Evaluation while training", "Speed"}) {
    EXPECT_EQ(count(html, std::string(">") + group + "</h3>"), 1U) << group;
  }
  EXPECT_NE(html.find("elastron-run -np 1 train "), std::string::npos);
  EXPECT_NE(html.find("t_sen: 0.5"), std::string::npos);
  EXPECT_NE(html.find("<dt>Seed</dt><dd>42</dd>"), std::string::npos);
  EXPECT_EQ(count(html, "<figure>"), count(html, "<summary>Numbers<"));
  EXPECT_EQ(count(html, "<figure>") + 1, count(html, "<a class=\"csv\""));  // and one table
}

TEST(ReportPage, RunsAreCompared) {
  const std::string html = page_of({"runs/first", "runs/second"});
  const std::string differences =
      csv_in(html, "What-differs-Keys-of-the-configurations-that-differ");
  EXPECT_NE(differences.find("router.reg.t_sen,0.5,0.3\r\n"), std::string::npos) << differences;
  EXPECT_NE(differences.find("train.seed,42,7\r\n"), std::string::npos);
  EXPECT_EQ(count(differences, "\r\n"), 4U) << differences;  // and output.dir, and the heading
  const std::string loss = csv_in(html, "loss--nats-");
  EXPECT_EQ(loss.substr(0, loss.find("\r\n")), "step,first,second");
  EXPECT_EQ(count(html, "<h2 "), 4U);
}

TEST(ReportPage, AnEvaluation) {
  const std::string html = page_of({"eval.json"});
  const auto rows = nlohmann::json::parse(read(kFixtures + "eval.json"));
  const std::string csv = csv_in(html, "Accuracy-by-kind");
  for (const auto& row : rows) {
    const std::string gates = row["gates"];
    const std::string line = "needle," + gates + "," + exact(row["by_kind"]["needle"]["accuracy"]);
    EXPECT_EQ(count(csv, "\r\n" + line + ","), 1U) << line << "\n" << csv;
  }
  EXPECT_EQ(count(html, "<title>Heads: "), 4U);  // all full, all sparse: the same everywhere
  const auto& skipped = rows[2]["esr_by_head"];
  const std::string heads = csv_in(html, "Heads--router");
  EXPECT_EQ(count(heads, "\r\n"), skipped.size() + 1) << heads;
  EXPECT_NE(heads.find("\r\n0," + exact(skipped[0][0]) + "," + exact(skipped[0][1]) + ","),
            std::string::npos)
      << heads;
}

TEST(ReportPage, AnEvaluationByKindAndItsCommand) {
  const Scratch s;
  const auto row = [](const char* gates, const char* more) {
    return std::string(R"({"gates": ")") + gates + R"(", "all": {"loss": 1}, )" + more +
           R"(, "made_by": {"program": "elastron 9", "checkpoint": "runs/a/step.h5",
            "command": "elastron eval a.yaml --set 'model.path=a b' --out x.json"}})";
  };
  const std::string html = page_of({s.write(
      "eval.json",
      "[" + row("full", R"("full_by_kind": {"gist": [[1, 1]], "needle": [[1, 1]]})") + "," +
          row("random:0.5:1", R"("full_by_kind": {"gist": [[0, 1]], "needle": [[0, 1]]})") + "," +
          row("router", R"("full_by_kind": {"gist": [[0, 0.25]], "needle": [[1, 0.75]]},
              "features_by_kind": {"kinds": ["gist", "needle"], "before": [[1, 0.99], [0.99, 1]],
                                   "after": [[1, -0.5], [-0.5, 1]]})") +
          "]")});
  EXPECT_EQ(csv_in(html, "Full-attention--router--needle"), "layer,head 0,head 1\r\n0,1,0.75\r\n");
  EXPECT_EQ(csv_in(html, "Full-attention--router--gist"), "layer,head 0,head 1\r\n0,0,0.25\r\n");
  EXPECT_EQ(csv_in(html, "Full-attention--random-0.5-1--every-kind"),
            "layer,head 0,head 1\r\n0,0,1\r\n");
  EXPECT_EQ(count(html, "<title>Full attention: "), 3U);  // all heads full: nothing to see
  EXPECT_EQ(csv_in(html, "Before-the-task-MLP--router"),
            "kind,kind gist,kind needle\r\ngist,1,0.99\r\nneedle,0.99,1\r\n");
  EXPECT_EQ(csv_in(html, "After-the-task-MLP--router"),
            "kind,kind gist,kind needle\r\ngist,1,-0.5\r\nneedle,-0.5,1\r\n");
  EXPECT_NE(html.find("elastron eval a.yaml --set 'model.path=a b' --out x.json"),
            std::string::npos);
  EXPECT_NE(html.find("runs/a/step.h5"), std::string::npos);
  EXPECT_EQ(html.find("older version"), std::string::npos);
  EXPECT_NE(page_of({"eval.json"}).find("older version"), std::string::npos);
}

TEST(ReportPage, CommandsThatResultsSay) {
  const Scratch s;
  const std::string made = R"("made_by": {"command": "elastron benchmark x --data d --out o"})";
  s.write("ruler/results.json",
          R"({"benchmark": "ruler", "settings": {"model": "m"}, )" + made + R"(, "results": {}})");
  s.write("ppl/results.json", R"({"benchmark": "perplexity", "settings": {"model": "m"}, )" + made +
                                  R"(, "results": {}})");
  s.write("reward/summary.json", read(kFixtures + "reward/summary.json"));
  s.write("reward/made_by.json", R"({"command": "elastron eval-reward y --out o"})");
  const std::string html = page_of({s / "ruler", s / "ppl", s / "reward"});
  EXPECT_EQ(count(html, "elastron benchmark x --data d --out o"), 2U);
  EXPECT_EQ(count(html, "elastron eval-reward y --out o"), 1U);
  EXPECT_EQ(html.find("ANOTHER_FOLDER"), std::string::npos);
}

TEST(ReportPage, ABenchmarkAndItsComparison) {
  const std::string html = page_of({"ruler_results"});
  const auto compared = nlohmann::json::parse(read(kFixtures + "ruler_results/compare.json"));
  const std::string csv = csv_in(html, "Score-by-gates");
  for (const auto& run : compared) {
    const std::string line =
        "256," + run["gates"].get<std::string>() + "," + exact(run["cells"]["256"]["score"]);
    EXPECT_EQ(count(csv, "\r\n" + line + "\r\n"), 1U) << line << "\n" << csv;
  }
  const auto full = nlohmann::json::parse(read(kFixtures + "ruler_results/full/results.json"));
  const auto& vt = full["results"]["128"]["tasks"]["vt"];
  const std::string line = "128 / vt,full," + exact(vt["score"]) + "," +
                           exact(vt["interval_95"][0]) + "," + exact(vt["interval_95"][1]);
  EXPECT_EQ(count(csv_in(html, "Scores"), line + "\r\n"), 1U) << csv_in(html, "Scores");
  EXPECT_NE(html.find("elastron benchmark ruler --model configs/tiny/backbone --router runs/first"),
            std::string::npos);
}

// In the shapes of docs/benchmarks.md; two results of one benchmark stand side by side.
TEST(ReportPage, LongBenchAndItsSecondVersion) {
  const Scratch s;
  for (const char* name : {"a", "b"}) {
    s.write(std::string(name) + "/results.json",
            R"({"benchmark": "longbench", "settings": {"model": "m)" + std::string(name) +
                R"( x", "gates": "full"}, "results": {"all": {
                "sets": {"qasper": {"score": 41.5, "interval_95": [30, 52], "rows": 9, "empty": 1}},
                "groups": {"Single-document QA": {"score": 41.5, "msr": 0.5}},
                "mean_of_groups": {"score": null}}}})");
  }
  s.write(
      "v2/results.json",
      R"({"benchmark": "longbench-v2", "settings": {}, "results": {"all": {"files": {"m.jsonl": {
              "rows": 4, "unanswered": 2, "overall": {"score": 25, "interval_95": [5, 70]},
              "hard": {"score": 50, "interval_95": [9, 90], "rows": 2}}}}}})");
  const std::string html = page_of({s / "a", s / "b", s / "v2"});
  EXPECT_EQ(csv_in(html, "Means"),
            "name,series,score\r\nSingle-document QA,a,41.5\r\nSingle-document QA,b,41.5\r\n");
  EXPECT_NE(html.find("elastron benchmark longbench --model 'mb x' --force full"),
            std::string::npos);
  EXPECT_NE(html.find("m.jsonl,25,5,70%0D%0A"), std::string::npos);
  EXPECT_NE(html.find("hard,50,9,90%0D%0A"), std::string::npos);
}

TEST(ReportPage, PerplexityRewardsAndHeads) {
  const std::string html = page_of({"perplexity", "reward", "scores.json"});
  const auto perplexity = nlohmann::json::parse(read(kFixtures + "perplexity/results.json"));
  const auto& at = perplexity["results"]["128"];
  EXPECT_NE(csv_in(html, "Perplexity-by-length")
                .find("\r\n128," + exact(at["perplexity"]) + "," + exact(at["interval_95"][0])),
            std::string::npos);
  const auto summary = nlohmann::json::parse(read(kFixtures + "reward/summary.json"));
  const std::string against = csv_in(html, "Against-judges-that-know-nothing");
  EXPECT_NE(against.find("this judge," + exact(summary["total"]["accuracy"]) + ","),
            std::string::npos)
      << against;
  EXPECT_EQ(count(html, ">Rewards</strong>"), 1U);
  EXPECT_EQ(count(html, ">Scores by layer and kv head</strong>"), 1U);
}

// A run's texts are whatever its owner wrote.
TEST(ReportPage, NamesAndValuesAreEscaped) {
  const Scratch s;
  const std::string bad = "<script>x</script>\\\"&'";
  s.write("a<b>&c/metrics.jsonl", "{\"step\": 1, \"loss\": 1, \"msr_by_task\": {\"" + bad +
                                      "\": 0.5, \"Code\": 0.25}}\n{\"step\": 2, \"loss\": 2, "
                                      "\"msr_by_task\": {\"" +
                                      bad + "\": 0.7}}\n");
  s.write("a<b>&c/config.yaml", "train:\n  objective: \"" + bad + "\"\n  seed: 1\n");
  s.write("eval.json", "{\"gates\": \"" + bad + "\", \"all\": {\"loss\": 1}, \"by_kind\": {\"" +
                           bad + "\": {\"accuracy\": 1, \"answers\": 2}}}");
  const std::string html = page_of({s / "a<b>&c", s / "eval.json"});
  EXPECT_EQ(count(html, "<script>x"), 0U);
  EXPECT_GE(count(html, "&lt;script&gt;x&lt;/script&gt;"), 5U);
}

TEST(ReportPage, ARunThatHasLoggedNothingYet) {
  const Scratch s;
  s.write("run/run.json", read(kFixtures + "runs/first/run.json"));
  EXPECT_NE(page_of({s / "run"}).find("No step has been logged yet."), std::string::npos);
}

// Fields of other types than expected are missing, and no page is a crash.
TEST(ReportPage, FieldsThatAreSomethingElse) {
  const Scratch s;
  for (const char* text :
       {R"({"gates": 3, "all": {"loss": "x"}, "by_kind": 3, "esr_by_head": [[1], 2]})",
        R"({"gates": "a", "all": {}, "full_by_kind": {"x": [[1], 2], "y": 3}, "made_by": 3})",
        R"({"gates": "a", "all": {}, "features_by_kind": {"kinds": [1, "b"], "before": [[null, 1],
            [1, null]], "after": [[1]]}, "made_by": {"command": 3}})",
        R"([{"gates": "a", "cells": {"x": 3}}, {"gates": "../..", "cells": {}}])",
        R"({"benchmark": "ruler", "results": {"8": {"tasks": {"vt": {"interval_95": [1]}}}}})",
        R"({"benchmark": "perplexity", "results": {"8": {"interval_95": ["x", 1]}}})",
        R"({"judge": "scores", "total": {"accuracy": "x"}, "lengths": {"8k": 3}, "files": []})",
        R"({"format": "elastron-head-scores", "kv_scores": [[0, null]], "settings": 3})"}) {
    const std::string html = page_of({s.write("x.json", text)});
    EXPECT_NE(html.find("<h2"), std::string::npos) << text;
  }
}

TEST(FigureWords, HaveEveryFigureOnceAndNoMarkdown) {
  std::set<std::string> names;
  for (const FigureWords& w : figure_words("")) {
    EXPECT_TRUE(names.insert(w.name).second) << w.name;
    EXPECT_EQ(w.meaning.find_first_of("[]`"), std::string::npos) << w.meaning;
    EXPECT_FALSE(w.group.empty());
  }
  for (const char* name : {"loss", "msr_by_task", "eval_loss", "margin_mean", "lr_router"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
  for (const FigureWords& w : figure_words("router")) EXPECT_NE(w.name, "margin_mean");
}

}  // namespace
}  // namespace elastron::report
