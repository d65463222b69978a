// Claims and figures of a small folder of results whose values are worked out by hand.
#include <gtest/gtest.h>

#include <cmath>

#include "data/synthetic/tasks.h"
#include "report/inputs/input.h"
#include "report/reproduction/findings.h"
#include "report/reproduction/static_series.h"
#include "router/objective.h"
#include "tests/report/reproduction_folder.h"

namespace elastron::report {
namespace {

using test::fill;
using test::ReproductionFolder;
using test::two_kinds;

Reproduction read(const ReproductionFolder& folder) {
  return std::get<Reproduction>(read_input(folder.path()));
}

std::map<std::string, Claim> by_id(const std::vector<Claim>& claims) {
  std::map<std::string, Claim> all;
  for (const Claim& claim : claims) EXPECT_TRUE(all.emplace(claim.id, claim).second) << claim.id;
  return all;
}

std::map<std::string, Claim> filled_claims() {
  ReproductionFolder folder;
  fill(folder);
  return by_id(claims_of(read(folder)));
}

// scipy.stats.t.ppf(0.975, degrees) of scipy 1.17.1.
TEST(Student, QuantilesAreThoseOfScipy) {
  const std::pair<int, double> kExpected[] = {
      {1, 12.706204736174694},  {2, 4.302652729749462},    {3, 3.1824463052837078},
      {4, 2.7764451051977934},  {5, 2.5705818356363146},   {9, 2.262157162798205},
      {10, 2.228138851986274},  {29, 2.045229642132703},   {30, 2.0422724563012378},
      {99, 1.9842169515864174}, {1000, 1.9623390808264083}};
  // The sums have as many terms as half the degrees, each rounded to 1e-16.
  for (const auto& [degrees, t] : kExpected) EXPECT_NEAR(student_95(degrees), t, 1e-11) << degrees;
}

// By scipy: mean -+ t.ppf(0.975, 2) * sem of 0.25, 0.5, 1.
TEST(Student, IntervalsOfMeans) {
  const auto three = estimate_of(std::vector<double>{0.25, 0.5, 1});
  ASSERT_TRUE(three && three->low && three->high);
  EXPECT_NEAR(three->mean, 0.5833333333333334, 1e-15);
  EXPECT_NEAR(*three->low, -0.3653124250658565, 1e-12);
  EXPECT_NEAR(*three->high, 1.5319790917325231, 1e-12);
  EXPECT_EQ(three->seeds, 3U);
  const auto one = estimate_of(std::vector<double>{0.25});
  EXPECT_EQ(one->mean, 0.25);
  EXPECT_FALSE(one->low || one->high);
  EXPECT_FALSE(estimate_of(std::vector<double>{}));
  EXPECT_EQ(text_of(*three), "0.583 [-0.365, 1.532] (3 seeds)");
  EXPECT_EQ(text_of(*one), "0.250 (1 seed)");
}

TEST(Verdicts, AreOfTheWholeInterval) {
  const auto verdict = [](std::vector<double> values) { return verdict_on(*estimate_of(values)); };
  EXPECT_EQ(verdict({0.5, 0.51, 0.52}), Verdict::holds);
  EXPECT_EQ(verdict({0.5, -0.1, 0.52}), Verdict::not_shown);
  EXPECT_EQ(verdict({0.5}), Verdict::not_shown);
  EXPECT_EQ(verdict({-0.5, -0.51, -0.52}), Verdict::does_not_hold);
  EXPECT_EQ(verdict({0, 0}), Verdict::not_shown);
}

// One place knows which kinds are sensitive, and the objective means the same.
TEST(SensitiveKinds, AreThoseOfTheObjectivesSensitiveTasks) {
  for (int k = 0; k < data::kSyntheticKinds; ++k) {
    const auto kind = data::SyntheticKind(k);
    EXPECT_EQ(data::synthetic_kind_is_sensitive(kind),
              router::is_sensitive_task(data::synthetic_kind_task(kind)))
        << data::synthetic_kind_name(kind);
  }
}

TEST(Claims, HaveTheValuesThatWereWorkedOut) {
  const auto claims = filled_claims();
  // Of two values the interval is their mean -+ 12.7062 times half their distance.
  const struct {
    const char* id;
    double a, b;  // of the two seeds
    Verdict verdict;
  } kExpected[] = {{"C1-random-0.5", 0.1875, 0.3125, Verdict::not_shown},
                   {"C1-scores-0.5", 0, 0.125, Verdict::not_shown},
                   {"C1-l0-0.5", -0.125, 0, Verdict::not_shown},
                   {"C1-random-0.75", 0.21875, 0.21875, Verdict::holds},
                   {"C1-l0-0.75", 0.0625, 0.0625, Verdict::holds},
                   {"C1s-random-0.5", 0.0625, 0.3125, Verdict::not_shown},
                   {"C1s-random-0.75", 0.125, 0.125, Verdict::holds},
                   {"C1s-l0-0.75", -0.5, -0.5, Verdict::does_not_hold},
                   {"C2-0.5", 0.5, 0.5, Verdict::holds},
                   {"C2-0.75", 0.5, 0.5, Verdict::holds},
                   {"C3", 0.5, 0.75, Verdict::not_shown},
                   {"C3-loss", 0.5, 0.75, Verdict::not_shown},
                   {"C4-0.5", 0.5, 0.625, Verdict::not_shown},
                   {"C4-0.75", 0.375, 0.375, Verdict::holds},
                   {"C4-full-0.75", -0.25, -0.25, Verdict::measured},
                   {"C5", 0.25, 0.25, Verdict::holds},
                   {"C6-0.5", 0.5, 0.75, Verdict::not_shown},
                   {"C7", 0.25, 0.25, Verdict::holds},
                   {"C7-full", -0.125, -0.125, Verdict::measured},
                   {"C8", 0.5, 0.5, Verdict::holds},
                   {"C9-0.5", 0.25, 0.5, Verdict::not_shown},
                   {"C10-prefill", 0.25, 0.5, Verdict::not_shown},
                   {"C10-cache", 0.5, 0.5, Verdict::holds},
                   {"C11-fa-xa", 0.5, 0.5, Verdict::holds},
                   {"C12-needle", 0.5, 0.5, Verdict::holds},
                   {"C13", 0.25, 0.25, Verdict::holds}};
  for (const auto& e : kExpected) {
    ASSERT_TRUE(claims.contains(e.id)) << e.id;
    const Claim& claim = claims.at(e.id);
    const double mean = (e.a + e.b) / 2, half = 12.706204736174694 * std::abs(e.a - e.b) / 2;
    EXPECT_NEAR(claim.value.mean, mean, 1e-12) << e.id;
    EXPECT_NEAR(claim.value.low.value_or(NAN), mean - half, 1e-9) << e.id;
    EXPECT_NEAR(claim.value.high.value_or(NAN), mean + half, 1e-9) << e.id;
    EXPECT_EQ(claim.value.seeds, 2U) << e.id;
    EXPECT_EQ(claim.verdict, e.verdict) << e.id;
    EXPECT_FALSE(claim.sentence.empty() || claim.measured.empty()) << e.id;
  }
  // One seed has it.
  EXPECT_EQ(claims.at("C10-decode").value.mean, 0.5);
  EXPECT_EQ(claims.at("C10-decode").verdict, Verdict::not_shown);
  EXPECT_EQ(line_of(claims.at("C10-decode")),
            "claim C10-decode not shown: elastic routers write faster than full attention at 2048 "
            "tokens: 0.500 (1 seed)");
  EXPECT_EQ(line_of(claims.at("C5")),
            "claim C5 holds: the MSR of sensitive kinds rises with t_sen: 0.250 [0.250, 0.250] (2 "
            "seeds)");
}

// Seeds are paired where routers differ in one thing: their own spread is none of the difference.
TEST(Claims, OfTwoTrainingsArePairedBySeed) {
  ReproductionFolder folder;
  for (const int seed : {3, 1, 2}) {
    folder.eval("elastic", "elastic", 0.5, seed, two_kinds(1, 1, 0.1 * seed, 1));
  }
  for (const int seed : {1, 2, 4}) {
    folder.eval("elastic", "elastic", 0.75, seed, two_kinds(1, 1, 0.1 * seed + 0.25, 1));
  }
  const auto claims = by_id(claims_of(read(folder)));
  EXPECT_EQ(claims.at("C5").value.seeds, 2U);
  EXPECT_NEAR(claims.at("C5").value.mean, 0.25, 1e-12);
  EXPECT_EQ(claims.at("C5").verdict, Verdict::holds);
}

TEST(StaticSeries, AreLinesBetweenMeans) {
  ReproductionFolder folder;
  fill(folder);
  // Asked for another MSR, it had the heads of 0.5.
  folder.eval("static", "random", 0.6, 1, two_kinds(0.75, 1, 0.5, 0.5));
  const Reproduction all = read(folder);
  const auto points = static_points(all, "random");
  ASSERT_EQ(points.size(), 3U);
  EXPECT_EQ(points[0].msr, 0);
  EXPECT_EQ(points[1].jobs.size(), 3U);
  EXPECT_EQ(points[2].msr, 1);
  const Measure accuracy = accuracy_over(Side::sensitive);
  EXPECT_DOUBLE_EQ(*at_msr(points, accuracy, 0.5), 0.5);
  EXPECT_DOUBLE_EQ(*at_msr(points, accuracy, 0.25), 0.75);
  EXPECT_DOUBLE_EQ(*at_msr(points, accuracy, 0.875), 0.125);
  EXPECT_DOUBLE_EQ(*at_msr(points, accuracy, 1), 0);
  EXPECT_FALSE(at_msr(points, accuracy, 1.5));
  EXPECT_FALSE(at_msr({points[1], points[2]}, accuracy, 0.25));
  EXPECT_TRUE(static_points(all, "none").empty());
}

TEST(Findings, HaveEveryPartInThePapersOrder) {
  ReproductionFolder folder;
  fill(folder);
  const Findings findings = findings_of(read(folder));
  std::vector<std::string> titles, names;
  for (const Part& part : findings.parts) {
    titles.push_back(part.title.substr(0, part.title.find(':')));
    for (const NamedFigure& figure : part.figures) names.push_back(figure.name);
  }
  EXPECT_EQ(titles,
            (std::vector<std::string>{
                "Figure 1 and Table 1", "Figure 2", "Figure 5", "Figure 6", "Figure 13",
                "Figure 14", "Figure 14", "Pairs of attention", "What decides, from what",
                "Temperature of the gates", "Width of the router", "Lengths beyond training",
                "Kinds that routers never saw", "Reward model", "What it costs"}));
  EXPECT_EQ(names, (std::vector<std::string>{"fig1-mixture",       "fig1-sensitive",
                                             "fig2-sensitive",     "fig2-robust",
                                             "fig2-needle",        "fig2-gist",
                                             "fig5-before",        "fig5-after",
                                             "fig6-needle",        "fig6-gist",
                                             "fig13-loss-elastic", "fig13-msr-elastic",
                                             "fig13-loss-l0",      "fig13-msr-l0",
                                             "fig13-msr-by-task",  "fig13-lambda1",
                                             "fig13-lambda2",      "fig14-pooling-accuracy",
                                             "fig14-pooling-msr",  "fig14-place-accuracy",
                                             "fig14-place-msr",    "modes-accuracy",
                                             "modes-msr",          "routing-accuracy",
                                             "routing-msr",        "temperature-accuracy",
                                             "temperature-msr",    "width-accuracy",
                                             "width-msr",          "lengths-mixture",
                                             "lengths-sensitive",  "lengths-robust",
                                             "lengths-msr",        "unseen-accuracy",
                                             "unseen-msr",         "reward-accuracy",
                                             "cost-prefill",       "cost-prefill-ratio",
                                             "cost-decode",        "cost-cache",
                                             "cost-tiles",         "cost-msr"}));
  EXPECT_EQ(findings.summary.find("Not there yet"), std::string::npos) << findings.summary;
}

const Figure& figure(const Findings& findings, const std::string& name) {
  for (const Part& part : findings.parts) {
    for (const NamedFigure& each : part.figures) {
      if (each.name == name) return each.figure;
    }
  }
  throw std::runtime_error("no figure " + name);
}

TEST(Findings, FiguresHaveTheMeans) {
  ReproductionFolder folder;
  fill(folder);
  const Findings all = findings_of(read(folder));
  // random: 0.375 -+ 12.7062 * 0.125.
  const Table& sensitive = figure(all, "fig2-sensitive").numbers;
  EXPECT_EQ(sensitive.columns,
            (std::vector<std::string>{"MSR (share of heads that run sparse)", "random",
                                      "random low", "random high", "scores", "l0"}));
  ASSERT_EQ(sensitive.rows.size(), 3U);
  EXPECT_EQ(sensitive.rows[0][1].number, 1);
  EXPECT_EQ(sensitive.rows[1][0].number, 0.5);
  EXPECT_EQ(sensitive.rows[1][1].number, 0.375);
  EXPECT_NEAR(*sensitive.rows[1][2].number, 0.375 - 12.706204736174694 * 0.125, 1e-9);
  EXPECT_EQ(sensitive.rows[2][5].number, 0);
  EXPECT_EQ(csv_of(figure(all, "fig5-after").numbers),
            "kind,kind gist,kind needle\r\ngist,1,0.125\r\nneedle,0.125,1\r\n");
  EXPECT_EQ(csv_of(figure(all, "fig6-needle").numbers),
            "layer,kv head 0,kv head 1\r\n0,1,0.5\r\n1,0,0\r\n");
  EXPECT_EQ(csv_of(figure(all, "fig13-lambda1").numbers),
            "step,Code,Single QA\r\n1,0.25,0.25\r\n2,0.625,0.625\r\n");
  EXPECT_EQ(csv_of(figure(all, "fig13-loss-elastic").numbers), "step,0.5\r\n1,1.5\r\n2,0.5\r\n");
  EXPECT_EQ(csv_of(figure(all, "cost-tiles").numbers),
            "tokens,elastic\r\n1024,0.25\r\n2048,0.25\r\n");
  const std::string unseen = csv_of(figure(all, "unseen-accuracy").numbers);
  EXPECT_NE(unseen.find("needle,\"elastic, accuracy\",0.5,0.5,0.5\r\n"), std::string::npos)
      << unseen;
  const std::string ratio = csv_of(figure(all, "cost-prefill-ratio").numbers);
  EXPECT_NE(ratio.find("\r\n2048,0.625,"), std::string::npos) << ratio;
  EXPECT_NE(ratio.find(",0.5\r\n"), std::string::npos) << ratio;
}

TEST(Findings, TheTableHasTheStaticHeadsThatAreNearest) {
  ReproductionFolder folder;
  fill(folder);
  folder.eval("static", "random", 0.875, 1, two_kinds(0.125, 1, 0.875, 0.875));
  const Findings all = findings_of(read(folder));
  const Table& accuracy = all.parts[0].tables[0].second;
  std::vector<std::string> rows;
  for (const auto& row : accuracy.rows) rows.push_back(row[0].text + " " + row[1].text);
  EXPECT_EQ(rows,
            (std::vector<std::string>{"full ", "sparse ", "elastic t_sen 0.5", "random MSR 0.5",
                                      "scores MSR 0.5", "l0 MSR 0.5", "elastic t_sen 0.75",
                                      "random MSR 0.875", "scores MSR 0.5", "l0 MSR 0.5"}));
  EXPECT_EQ(accuracy.rows[2][2].number, 2);      // seeds
  EXPECT_EQ(accuracy.rows[2][3].number, 0.875);  // sensitive
  EXPECT_EQ(accuracy.rows[2][5].number, 0.9375);
  const Table& msr = all.parts[0].tables[1].second;
  EXPECT_EQ(msr.rows[6][3].number, 0.5);
  EXPECT_EQ(msr.rows[6][5].number, 0.75);
}

// A reproduction that goes on.
TEST(Findings, WhatIsNotThereIsSaidAndLeftOut) {
  ReproductionFolder folder;
  const Findings none = findings_of(read(folder));
  EXPECT_TRUE(none.parts.empty());
  EXPECT_TRUE(none.claims.empty());
  EXPECT_NE(none.summary.find("Not there yet: static, elastic, training, pooling"),
            std::string::npos)
      << none.summary;
  folder.eval("elastic", "elastic", 0.7, 1, two_kinds(1, 1, 0.5, 1));
  const Findings one = findings_of(read(folder));
  ASSERT_EQ(one.parts.size(), 1U);
  EXPECT_EQ(one.parts[0].title.substr(0, 8), "Figure 1");
  ASSERT_EQ(one.claims.size(), 1U);
  EXPECT_EQ(one.claims[0].id, "C2-0.7");
  EXPECT_EQ(one.claims[0].verdict, Verdict::not_shown);
  EXPECT_EQ(one.summary.find("static, elastic"), std::string::npos);
}

}  // namespace
}  // namespace elastron::report
