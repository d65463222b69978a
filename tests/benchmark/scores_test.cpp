// Scores against what the Python packages that published tables rest on gave for the same texts.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "tests/benchmark/scored_case.h"

namespace elastron::test {
namespace {

// As close as doubles that went through decimal text and back are.
constexpr double kTolerance = 1e-9;

TEST(Scores, EqualThePackages) {
  std::ifstream in(std::string(ELASTRON_TEST_FIXTURES) + "/benchmark/scores.jsonl");
  int cases = 0;
  for (std::string line; std::getline(in, line); ++cases) {
    const nlohmann::json asked = nlohmann::json::parse(line);
    const nlohmann::json& expected = asked.at("expected");
    const nlohmann::json got = said(asked);
    if (expected.is_number() && got.is_number()) {
      EXPECT_NEAR(got.get<double>(), expected.get<double>(), kTolerance) << line;
    } else {
      EXPECT_EQ(got, expected) << line;
    }
  }
  EXPECT_GT(cases, 1000);
}

TEST(Scores, ValuesByHand) {
  using namespace benchmark;  // NOLINT(google-build-using-namespace)
  // Two of three words are right, and the answer has two: precision 2/3, recall 1.
  EXPECT_DOUBLE_EQ(word_f1("The red big house!", "big House"), 0.8);
  EXPECT_EQ(word_f1("", ""), 0.0);
  // "animal" goes first; "ani", behind it, is passed over and halves the score.
  EXPECT_EQ(class_score("animal ani animals", "animals", {"animal", "ani", "animals"}), 0.5);
  EXPECT_EQ(code_similarity("", ""), 1.0);
  EXPECT_EQ(code_similarity("# nothing else", "x"), 0.0);
  EXPECT_EQ(code_similarity("# a remark\nab", "ab"), 1.0);
  EXPECT_EQ(share_of_numbers("7 of 7, or 8", "7"), 2.0 / 3);
  EXPECT_EQ(answered_number("Paragraph x, Paragraph 12", "Paragraph "), "12");
  EXPECT_EQ(answered_number("12", "Paragraph "), std::nullopt);
  EXPECT_EQ(lower("\xce\xa3\xce\xa3 \xc4\xb0"), "\xcf\x83\xcf\x82 i\xcc\x87");
}

TEST(Scores, RougeHasPythonsLimit) {
  using benchmark::rouge_l;
  const auto words = [](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += (i > 0 ? " w" : "w") + std::to_string(i);
    return text;
  };
  EXPECT_NEAR(rouge_l(words(990), words(990)), 1.0, 1e-7);
  EXPECT_EQ(rouge_l(words(991), words(991)), 0.0);
  // The walk goes back over the words that are not shared one by one.
  EXPECT_GT(rouge_l(words(990), words(400)), 0.0);
  EXPECT_EQ(rouge_l(words(991), words(400)), 0.0);
  EXPECT_GT(rouge_l(words(500) + ". " + words(500), words(400)), 0.0);
}

TEST(Scores, MeansAndIntervals) {
  using namespace benchmark;  // NOLINT(google-build-using-namespace)
  // The doubles below 2.675 and 0.125: one is no tie, the other is.
  EXPECT_EQ(round_as_python(2.675, 2), 2.67);
  EXPECT_EQ(round_as_python(0.125, 2), 0.12);
  EXPECT_EQ(round_as_numpy(2.675), 2.68);

  const std::vector<double> values = {0, 1, 1, 0, 1, 1, 0, 1, 1, 1};
  const auto means = resampled_means(values, "qasper");
  ASSERT_EQ(means.size(), size_t(kResamples));
  EXPECT_EQ(means, resampled_means(values, "qasper"));
  EXPECT_NE(means, resampled_means(values, "hotpotqa"));
  const auto interval = interval_of(means, 100, 2);
  ASSERT_TRUE(interval.has_value());
  // 0.7 and 1.96 standard errors of sqrt(0.7 * 0.3 / 10), by tenths.
  EXPECT_NEAR(interval->low, 40, 10.01);
  EXPECT_NEAR(interval->high, 100, 10.01);
  const auto certain = interval_of(resampled_means(std::vector<double>(5, 0.25), "x"), 100, 2);
  EXPECT_EQ(certain->low, 25.0);
  EXPECT_EQ(certain->high, 25.0);
  EXPECT_FALSE(interval_of({}, 100, 2).has_value());
}

}  // namespace
}  // namespace elastron::test
