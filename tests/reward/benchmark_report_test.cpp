// The report of an evaluation on a case small enough to work out by hand, and the table of the
// docs/method.md, Results table, from judged rows.
#include "reward/benchmark_report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "core/error.h"
#include "tests/reward/sample_table.h"

namespace elastron::reward {
namespace {

JudgedRow row(const std::string& file, int64_t index, const std::string& setting,
              const std::string& length) {
  JudgedRow r;
  r.file = file;
  r.index = index;
  r.setting = setting;
  r.length = length;
  return r;
}

JudgedRow scored(const std::string& file, int64_t index, const std::string& setting,
                 const std::string& length, PairScores scores, int64_t chosen = 0,
                 int64_t rejected = 0) {
  JudgedRow r = row(file, index, setting, length);
  r.scores = scores;
  r.tokens_chosen = chosen;
  r.tokens_rejected = rejected;
  return r;
}

JudgedRow answered(int64_t index, bool chosen_is_a, const std::string& output,
                   std::optional<std::string> swapped = {}) {
  JudgedRow r = row("f", index, "f", "8k");
  r.judgement = {.chosen_is_a = chosen_is_a,
                 .output = output,
                 .swapped_output = std::move(swapped),
                 .prompt_tokens = 0};
  return r;
}

// Right and longer; wrong and shorter; a tie, longer; skipped; right and shorter, cut; right at
// equal length. An untrained head that gives one score to all.
std::vector<JudgedRow> by_hand() {
  std::vector<JudgedRow> rows = {
      scored("a", 0, "S1", "8k", {2, 1}, 10, 5),  scored("a", 1, "S1", "8k", {0, 1}, 5, 10),
      scored("a", 2, "S2", "16k", {1, 1}, 10, 5), row("a", 3, "S2", "16k"),
      scored("b", 0, "S1", "8k", {3, 0}, 4, 8),   scored("b", 1, "S1", "128k", {1, 0.5}, 6, 6)};
  rows[3].skip_reason = "equal after tokenising";
  rows[4].truncated = true;
  for (JudgedRow& r : rows) {
    if (r.scores) r.untrained = {0.25, 0.25};
  }
  return rows;
}

void expect_interval(const nlohmann::ordered_json& interval, double low, double high) {
  EXPECT_NEAR(interval[0].get<double>(), low, 1e-12);
  EXPECT_NEAR(interval[1].get<double>(), high, 1e-12);
}

TEST(BenchmarkReport, TheSampleRowsGiveThePublishedTable) {
  const auto& files = test::kSampleFiles;
  const BenchmarkReport report(files,
                               {scored(files[2], 1, "Long-form_Generation", "64k", {0.5, 0.5}),
                                scored(files[0], 0, "P-Noise", "8k", {0.5, 0.25}),
                                scored(files[0], 1, "S-Drop", "8k", {-1, 0.25}),
                                scored(files[1], 0, "Mem0-MEM", "8k", {-1, -2}),
                                scored(files[2], 0, "parallel", "8k", {7, 0})});
  EXPECT_EQ(report.results_csv(), test::kSampleTable);
}

// The whole benchmark by its counts (docs/method.md, Benchmark rows): settings by row, length
// classes by column.
TEST(BenchmarkReport, CountsOfTheWholeBenchmark) {
  struct Setting {
    const char* file;
    const char* name;
    int64_t rows[5], all;
  };
  const Setting settings[] = {{"Long-context_Reasoning", "S-Noise", {101, 44, 43, 36, 31}, 255},
                              {"Long-context_Reasoning", "S-Drop", {35, 22, 22, 40, 15}, 134},
                              {"Long-context_Reasoning", "P-Noise", {22, 33, 49, 46, 34}, 184},
                              {"Long-context_Reasoning", "P-Drop", {19, 65, 72, 43, 28}, 227},
                              {"Multi-turn", "Mem0-OUT", {27, 27, 42, 48, 23}, 167},
                              {"Multi-turn", "Mem0-MEM", {25, 25, 41, 47, 21}, 159},
                              {"Multi-turn", "A-Mem-OUT", {42, 42, 48, 50, 47}, 229},
                              {"Multi-turn", "A-Mem-MEM", {48, 45, 49, 53, 50}, 245},
                              {"Long-form", "sequential", {49, 152, 147, 67, 42}, 457},
                              {"Long-form", "parallel", {51, 48, 53, 133, 58}, 343}};
  const int64_t totals[] = {419, 503, 566, 563, 349};
  const char* const lengths[] = {"8k", "16k", "32k", "64k", "128k"};
  std::vector<JudgedRow> rows;
  for (const Setting& s : settings) {
    for (int l = 0; l < 5; ++l) {
      for (int64_t i = 0; i < s.rows[l]; ++i) {
        const bool right = s.name == std::string("parallel");
        rows.push_back(scored(s.file, int64_t(rows.size()), s.name, lengths[l],
                              right ? PairScores{1, 0} : PairScores{0, 1}));
      }
    }
  }
  const BenchmarkReport report({"Long-context_Reasoning", "Multi-turn", "Long-form"}, rows);
  const auto summary = report.summary();
  EXPECT_EQ(summary["total"]["pairs"], 2400);
  EXPECT_NEAR(summary["total"]["accuracy"].get<double>(), 343.0 / 2400, 1e-12);
  EXPECT_NEAR(summary["macro_mean"]["accuracy"].get<double>(), 0.1, 1e-12);
  std::istringstream csv(report.results_csv());
  std::string header, line;
  std::getline(csv, header);
  for (int l = 0; l < 5; ++l) {
    std::getline(csv, line);
    const double share = double(settings[9].rows[l]) / double(totals[l]);
    EXPECT_NEAR(std::stod(line.substr(line.rfind(',') + 1)), share, 5e-6) << line;
  }
  for (const Setting& s : settings) {
    int64_t all = 0;
    for (const int64_t n : s.rows) all += n;
    EXPECT_EQ(all, s.all) << s.name;
  }
}

TEST(BenchmarkReport, TotalsByHand) {
  const auto summary = BenchmarkReport({"a", "b"}, by_hand()).summary();
  EXPECT_EQ(summary["judge"], "scores");
  EXPECT_EQ(summary["rows"], 6);
  EXPECT_EQ(summary["skip_reasons"]["equal after tokenising"], 1);
  const auto& total = summary["total"];
  EXPECT_EQ(total["pairs"], 5);
  EXPECT_EQ(total["right"], 3);
  EXPECT_EQ(total["ties"], 1);
  EXPECT_EQ(total["accuracy"], 0.6);
  EXPECT_EQ(total["tie_aware_accuracy"], 0.7);
  // Wilson's formula worked out apart, in Python.
  expect_interval(total["interval"], 0.2307242812760128, 0.882379225767352);
  expect_interval(total["tie_aware_interval"], 0.2987910540723934, 0.9274159600143366);
  EXPECT_EQ(total["skipped"], 1);
  EXPECT_EQ(total["truncated"], 1);

  const auto& baselines = summary["baselines"];
  EXPECT_EQ(baselines["chance"], 0.5);
  EXPECT_EQ(baselines["longer_wins"]["accuracy"], 0.5);
  EXPECT_EQ(baselines["shorter_wins"]["accuracy"], 0.5);
  EXPECT_EQ(baselines["untrained_head"]["accuracy"], 0.0);
  EXPECT_EQ(baselines["untrained_head"]["tie_aware_accuracy"], 0.5);

  const auto& paired = summary["against_longer_wins"];
  EXPECT_EQ(paired["pairs"], 4);
  EXPECT_EQ(paired["left_out_equal_length"], 1);
  EXPECT_EQ(paired["only_judge_right"], 1);
  EXPECT_EQ(paired["only_longer_wins_right"], 1);
  EXPECT_EQ(paired["p_two_sided"], 1.0);
  EXPECT_EQ(summary["length_bias"]["chosen_is_shorter"]["pairs"], 2);
  EXPECT_EQ(summary["length_bias"]["chosen_is_shorter"]["accuracy"], 0.5);
}

TEST(BenchmarkReport, ScoresByHand) {
  const auto summary = BenchmarkReport({"a", "b"}, by_hand()).summary();
  EXPECT_NEAR(summary["margins"]["mean"].get<double>(), 0.7, 1e-15);
  EXPECT_EQ(summary["margins"]["median"], 0.5);
  // softplus of -1, 1, 0, -3 and -0.5
  EXPECT_NEAR(summary["bradley_terry_loss"].get<double>(),
              (0.3132616875 + 1.3132616875 + 0.6931471806 + 0.0485873516 + 0.4740769842) / 5, 1e-9);
  const auto& rewards = summary["rewards"];
  EXPECT_NEAR(rewards["chosen"]["mean"].get<double>(), 1.4, 1e-15);
  EXPECT_NEAR(rewards["chosen"]["std"].get<double>(), std::sqrt(1.3), 1e-15);
  EXPECT_NEAR(rewards["rejected"]["mean"].get<double>(), 0.7, 1e-15);
  EXPECT_NEAR(rewards["all"]["mean"].get<double>(), 1.05, 1e-15);
  EXPECT_EQ(rewards["histogram"]["low"], 0.0);
  EXPECT_EQ(rewards["histogram"]["high"], 3.0);
  EXPECT_EQ(rewards["histogram"]["counts"], nlohmann::ordered_json({2, 1, 0, 5, 0, 0, 1, 0, 0, 1}));
  EXPECT_EQ(summary["pooled_auc"], 0.7);
}

// Each setting of each file counts the same: S2 and S1 of a, S1 of b.
TEST(BenchmarkReport, MacroMeanByHand) {
  const auto macro = BenchmarkReport({"a", "b"}, by_hand()).summary()["macro_mean"];
  EXPECT_EQ(macro["settings"], 3);
  EXPECT_EQ(macro["accuracy"], (0 + 0.5 + 1) / 3);
  EXPECT_NEAR(macro["tie_aware_accuracy"].get<double>(), (0.5 + 0.5 + 1) / 3, 1e-15);
}

TEST(BenchmarkReport, CellsByHand) {
  const auto summary = BenchmarkReport({"a", "b"}, by_hand()).summary();
  EXPECT_EQ(summary["files"]["a"]["accuracy"], 1.0 / 3);
  EXPECT_EQ(summary["files"]["b"]["accuracy"], 1.0);
  EXPECT_EQ(summary["lengths"]["8k"]["pairs"], 3);
  EXPECT_EQ(summary["lengths"]["8k"]["right"], 2);
  EXPECT_FALSE(summary["lengths"].contains("32k"));
  const auto& s2 = summary["files"]["a"]["settings"]["S2"];
  EXPECT_EQ(s2["lengths"]["16k"]["ties"], 1);
  EXPECT_EQ(s2["skipped"], 1);
  EXPECT_EQ(s2["longer_wins"], 1.0);
  EXPECT_EQ(summary["files"]["b"]["settings"]["S1"]["lengths"]["128k"]["longer_wins"], 0.5);
  EXPECT_EQ(summary["files"]["b"]["lengths"]["8k"]["truncated"], 1);
}

TEST(BenchmarkReport, TheOrderOfRowsDoesNotMatter) {
  const BenchmarkReport report({"a", "b"}, by_hand());
  std::vector<JudgedRow> rows = by_hand();
  std::reverse(rows.begin(), rows.end());
  const BenchmarkReport reversed({"a", "b"}, rows);
  EXPECT_EQ(report.summary().dump(), reversed.summary().dump());
  EXPECT_EQ(report.results_csv(), reversed.results_csv());
  EXPECT_EQ(report.text(), reversed.text());
}

// What is not known is left out, never made up.
TEST(BenchmarkReport, WithoutLengthsAndUntrainedScores) {
  std::vector<JudgedRow> rows = by_hand();
  rows[0].tokens_rejected = 0;
  rows[1].untrained.reset();
  const auto summary = BenchmarkReport({"a", "b"}, rows).summary();
  EXPECT_EQ(summary["baselines"].size(), 1U) << summary["baselines"];
  EXPECT_FALSE(summary.contains("length_bias"));
  EXPECT_FALSE(summary.contains("against_longer_wins"));
  EXPECT_FALSE(summary["files"]["a"].contains("longer_wins"));
  EXPECT_TRUE(summary["files"]["b"].contains("longer_wins"));
}

TEST(BenchmarkReport, WithoutAJudgedRow) {
  JudgedRow skipped = row("a", 0, "S1", "2m");
  skipped.skip_reason = "unknown length class";
  for (const auto& rows : {std::vector<JudgedRow>{}, std::vector<JudgedRow>{skipped}}) {
    const BenchmarkReport report({"a"}, rows);
    const auto summary = report.summary();
    EXPECT_EQ(summary["total"]["accuracy"], nullptr);
    EXPECT_EQ(summary["macro_mean"]["accuracy"], nullptr);
    EXPECT_EQ(summary["total"]["skipped"], rows.size());
    EXPECT_EQ(report.results_csv().substr(0, 14), ",Task,a,Avg.\n0");
    EXPECT_NE(report.text().find("0 judged"), std::string::npos);
  }
}

TEST(BenchmarkReport, VerdictsByHand) {
  const BenchmarkReport report(
      {"f"}, {answered(0, true, "[[A]] x", "[[B]]"), answered(1, false, " [[B]]", "[[A]]"),
              answered(2, false, "[[A]]", "[[A]]"), answered(3, false, "neither")});
  const auto summary = report.summary();
  EXPECT_EQ(summary["judge"], "verdicts");
  const auto& total = summary["total"];
  EXPECT_EQ(total["accuracy"], 0.25);
  EXPECT_EQ(total["lenient"]["accuracy"], 0.5);
  EXPECT_EQ(total["verdicts_strict"].dump(), R"({"A":2,"B":0,"none":2})");
  EXPECT_EQ(total["verdicts_lenient"].dump(), R"({"A":2,"B":1,"none":1})");
  EXPECT_EQ(total["swap_strict"]["pairs"], 3);
  EXPECT_EQ(total["swap_strict"]["both_have_verdicts"], 2);
  EXPECT_EQ(total["swap_strict"]["same_winner"], 1);
  EXPECT_EQ(total["swap_lenient"]["same_winner"], 2);
  EXPECT_EQ(total["swap_lenient"]["consistency"], 2.0 / 3);
  EXPECT_EQ(summary["macro_mean"]["lenient_accuracy"], 0.5);
  for (const char* name : {"margins", "rewards", "calibration", "bradley_terry_loss", "pooled_auc"})
    EXPECT_FALSE(summary.contains(name)) << name;
  EXPECT_NE(report.results_csv().find("0,8k,0.25,0.25\n"), std::string::npos);
  EXPECT_NE(report.results_csv(VerdictRule::lenient).find("0,8k,0.5,0.5\n"), std::string::npos);
  EXPECT_NE(report.text().find(
                "Verdicts, lenient: 2 [[A]], 1 [[B]], 1 none; same winner in both orders: 2 of 3"),
            std::string::npos)
      << report.text();
}

TEST(BenchmarkReport, TextFitsTheTerminal) {
  std::vector<JudgedRow> rows;
  int64_t index = 0;
  for (const std::string& file : test::kSampleFiles) {
    for (const char* length : {"8k", "128k"}) {
      rows.push_back(scored(file, index, "S-Noise", length, {double(index), 1}, 20 + index, 22));
      rows.back().untrained = {0, 0};
      ++index;
    }
  }
  const std::string text = BenchmarkReport(test::kSampleFiles, rows).text();
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
  EXPECT_NE(text.find("Multi-turn_Dialogue_Understanding      2    1.000  0.342 .. 1.000"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("\nBaselines: chance 0.500, longer wins 0.583, shorter wins 0.417, "
                      "untrained head 0.500\n"),
            std::string::npos)
      << text;
}

TEST(BenchmarkReport, RowsThatDoNotBelongTogetherAreAMistakeOfTheProgram) {
  EXPECT_THROW(BenchmarkReport({"a"}, by_hand()), LogicError);
  EXPECT_THROW(BenchmarkReport({"a"}, {scored("a", 0, "S1", "9k", {1, 0})}), LogicError);
  EXPECT_THROW(BenchmarkReport({"f"}, {scored("f", 0, "S1", "8k", {1, 0}), answered(1, true, "")}),
               LogicError);
}

}  // namespace
}  // namespace elastron::reward
