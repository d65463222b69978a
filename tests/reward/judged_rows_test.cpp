// rows.jsonl: lines that read back, evaluations that stop anywhere and go on, rows of other runs.
#include "reward/judged_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "tests/data/support.h"

namespace elastron::reward {
namespace {

using data::test::error_of;
using data::test::Scratch;

const EvaluationIdentity kIdentity = {{"checkpoint", "runs/a/step-100"}, {"max_tokens", "131072"}};
const std::vector<std::string> kFiles = {"second", "first"};  // the order is the caller's

JudgedRow scored(const std::string& file, int64_t index, double chosen, double rejected) {
  JudgedRow row;
  row.file = file;
  row.index = index;
  row.setting = "S-Drop";
  row.subtask = "qa1";
  row.length = "8k";
  row.scores = {chosen, rejected};
  row.tokens_chosen = 12;
  row.tokens_rejected = 7;
  return row;
}

JudgedRow skipped(const std::string& file, int64_t index) {
  JudgedRow row = scored(file, index, 0, 0);
  row.scores.reset();
  row.skip_reason = "longer than the limit";
  return row;
}

JudgedRow answered(const std::string& file, int64_t index) {
  JudgedRow row = scored(file, index, 0, 0);
  row.scores.reset();
  row.tokens_chosen = row.tokens_rejected = 0;
  row.judgement = {.chosen_is_a = false,
                   .output = "I say [[B]]\n\"quoted\"",
                   .swapped_output = "[[A]]",
                   .prompt_tokens = 49728};
  return row;
}

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// All that the file holds: the line of a row is made of nothing else.
std::string again(const JudgedRow& row) {
  std::string line = judged_row_line(row);
  line.pop_back();
  return judged_row_line(parse_judged_row(line, "there:1"));
}

TEST(JudgedRows, ALineHasThePublishedFields) {
  EXPECT_EQ(judged_row_line(scored("f", 3, 1.5, 0.25)),
            "{\"index\":3,\"file\":\"f\",\"task\":\"S-Drop\",\"subtask\":\"qa1\",\"ctx_length\":"
            "\"8k\",\"score_chosen\":1.5,\"score_rejected\":0.25,\"margin\":1.25,\"tokens_chosen\":"
            "12,\"tokens_rejected\":7,\"truncated\":false,\"skipped\":false}\n");
  EXPECT_EQ(judged_row_line(skipped("f", 0)),
            "{\"index\":0,\"file\":\"f\",\"task\":\"S-Drop\",\"subtask\":\"qa1\",\"ctx_length\":"
            "\"8k\",\"score_chosen\":null,\"score_rejected\":null,\"margin\":null,"
            "\"tokens_chosen\":12,\"tokens_rejected\":7,\"truncated\":false,\"skipped\":true,"
            "\"skip_reason\":\"longer than the limit\"}\n");
}

TEST(JudgedRows, RowsReadBackExactly) {
  JudgedRow row = scored("f", 3, 0.1, -1.0 / 3);
  row.untrained = {double(0.1F), 1e-300};
  row.truncated = true;
  EXPECT_EQ(again(row), judged_row_line(row));
  std::string line = judged_row_line(row);
  line.pop_back();
  const JudgedRow read = parse_judged_row(line, "there:1");
  EXPECT_EQ(read.scores->chosen, 0.1);
  EXPECT_EQ(read.scores->rejected, -1.0 / 3);
  EXPECT_EQ(read.untrained->chosen, double(0.1F));
  EXPECT_EQ(read.untrained->rejected, 1e-300);
  EXPECT_TRUE(read.truncated);

  EXPECT_EQ(again(skipped("f", 1)), judged_row_line(skipped("f", 1)));
  EXPECT_EQ(again(answered("f", 2)), judged_row_line(answered("f", 2)));
  const std::string said = judged_row_line(answered("f", 2));
  EXPECT_NE(said.find("\"order\":[1,0],\"prompt_tokens\":49728,\"verdict_strict\":null,"
                      "\"verdict_lenient\":\"B\",\"right_strict\":false,\"right_lenient\":true"),
            std::string::npos)
      << said;
}

TEST(JudgedRows, ScoresThatAreNotFiniteAreNeverWritten) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    EXPECT_NE(error_of<NumericalError>([&] {
                judged_row_line(scored("f", 3, bad, 0));
              }).find("a score is not finite (f, row 3)"),
              std::string::npos);
  }
  JudgedRow row = scored("f", 3, 1, 0);
  row.untrained = {0, -std::numeric_limits<double>::infinity()};
  EXPECT_THROW(judged_row_line(row), NumericalError);
}

TEST(JudgedRows, OutputThatIsNotUtf8IsWrittenAllTheSame) {
  JudgedRow row = answered("f", 0);
  row.judgement->output = "[[B]] \xff";
  EXPECT_NE(judged_row_line(row).find("[[B]] \xef\xbf\xbd"), std::string::npos);
  EXPECT_EQ(again(row), judged_row_line(row));
}

TEST(JudgedRows, LinesThatAreNoRowsNameTheirPlace) {
  const std::string good = judged_row_line(scored("f", 3, 1, 0));
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string line = good.substr(0, good.size() - 1);
    line.replace(line.find(from), from.size(), to);
    return error_of<InputError>([&] { parse_judged_row(line, "rows.jsonl:7"); });
  };
  EXPECT_NE(with("\"index\":3", "\"index\":\"3\"").find("'index' is not a whole number"),
            std::string::npos);
  EXPECT_NE(with("\"task\"", "\"tusk\"").find("'task' is missing (rows.jsonl:7)"),
            std::string::npos);
  EXPECT_NE(with("1.0", "null").find("'score_chosen' is missing"), std::string::npos);
  EXPECT_NE(with("\"skipped\":false", "\"skipped\":true").find("'skip_reason' is missing"),
            std::string::npos);
  EXPECT_NE(with("{", "").find("rows.jsonl:7"), std::string::npos);
}

class Evaluation : public ::testing::Test {
 protected:
  Evaluation() {
    for (const int64_t i : {2, 0, 1}) rows_.push_back(scored("first", i, 0.1 * double(i), 0.3));
    rows_.push_back(skipped("second", 1));
    rows_.push_back(answered("second", 0));
  }
  // Judges what is still to do; returns the file's bytes in the end.
  std::string go_on(const std::string& folder) {
    JudgedRowsFile file(folder, kIdentity, kFiles);
    for (const JudgedRow& row : rows_) {
      if (!file.done(row.file, row.index)) file.append(row);
    }
    EXPECT_EQ(file.finish().size(), rows_.size());
    return content(folder + "/rows.jsonl");
  }
  // Judges the first rows and stops without an end; returns the file's bytes.
  std::string begin(size_t count) {
    JudgedRowsFile file(out(), kIdentity, kFiles);
    for (size_t i = 0; i < count; ++i) file.append(rows_[i]);
    return content(out() + "/rows.jsonl");
  }
  std::string error_with(const EvaluationIdentity& identity,
                         const std::vector<std::string>& files = kFiles) {
    return error_of<Error>([&] { JudgedRowsFile(out(), identity, files); });
  }
  std::string out() const { return folder_.path() + "/deep/out"; }

  Scratch folder_;
  std::vector<JudgedRow> rows_;
};

TEST_F(Evaluation, EndsInCanonicalOrder) {
  std::string expected;
  for (const size_t i : {4, 3, 1, 2, 0}) expected += judged_row_line(rows_[i]);
  EXPECT_EQ(go_on(out()), expected);
  EXPECT_EQ(go_on(out()), expected);  // nothing is left to do
}

// Killed after some byte, at line ends and within lines: what was whole counts, the rest is judged
// again.
TEST_F(Evaluation, InterruptedAnywhereItEndsInTheSameBytes) {
  const std::string whole = begin(rows_.size());
  const std::string expected = go_on(out());
  for (size_t bytes = 0; bytes <= whole.size(); ++bytes) {
    const bool near_a_line_end = whole.find('\n', bytes > 2 ? bytes - 2 : 0) <= bytes;
    if (bytes % 61 != 0 && !near_a_line_end) continue;
    std::ofstream(out() + "/rows.jsonl", std::ios::binary | std::ios::trunc)
        << whole.substr(0, bytes);
    {
      const JudgedRowsFile file(out(), kIdentity, kFiles);
      const auto lines = std::count(whole.begin(), whole.begin() + std::ptrdiff_t(bytes), '\n');
      ASSERT_EQ(file.rows().size(), size_t(lines)) << bytes << " bytes";
    }
    ASSERT_EQ(go_on(out()), expected) << bytes << " bytes";
  }
}

// A row after a torn line must not run together with it.
TEST_F(Evaluation, InterruptedTwiceItGoesOn) {
  const std::string whole = begin(2);
  std::ofstream(out() + "/rows.jsonl", std::ios::binary | std::ios::trunc)
      << whole.substr(0, whole.size() - 9);
  EXPECT_EQ(JudgedRowsFile(out(), kIdentity, kFiles).rows().size(), 1U);
  {
    JudgedRowsFile file(out(), kIdentity, kFiles);
    file.append(rows_[3]);
  }
  EXPECT_EQ(content(out() + "/rows.jsonl"), judged_row_line(rows_[0]) + judged_row_line(rows_[3]));
  EXPECT_EQ(JudgedRowsFile(out(), kIdentity, kFiles).rows().size(), 2U);
}

TEST_F(Evaluation, RowsOfAnotherEvaluationAreRefused) {
  begin(1);
  EvaluationIdentity other = kIdentity;
  other["checkpoint"] = "runs/b";
  other.erase("max_tokens");
  other["limit"] = "5";
  const std::string error = error_with(other);
  EXPECT_NE(error.find("checkpoint was 'runs/a/step-100', is 'runs/b'"), std::string::npos)
      << error;
  EXPECT_NE(error.find("max_tokens was '131072', is not given"), std::string::npos) << error;
  EXPECT_NE(error.find("limit was not given, is '5'"), std::string::npos) << error;
  EXPECT_NE(error.find("use another --out, or remove the folder"), std::string::npos) << error;
  EXPECT_EQ(error_with(kIdentity), "");

  std::filesystem::remove(out() + "/rows.meta.json");
  EXPECT_NE(error_with(kIdentity).find("rows of an unknown evaluation"), std::string::npos);
}

TEST_F(Evaluation, WithoutRowsAnotherEvaluationMayTakeTheFolder) {
  begin(0);
  const EvaluationIdentity other = {{"checkpoint", "runs/b"}};
  EXPECT_EQ(error_with(other), "");
  JudgedRowsFile(out(), other, kFiles).append(rows_[0]);
  EXPECT_NE(error_with(kIdentity).find("checkpoint was 'runs/b'"), std::string::npos);
}

TEST_F(Evaluation, WhatIsWrongInTheFileNamesItsLine) {
  begin(2);
  EXPECT_NE(error_with(kIdentity, {"second"}).find("a row of 'first', which is not evaluated"),
            std::string::npos);
  std::ofstream(out() + "/rows.jsonl", std::ios::app) << judged_row_line(rows_[1]);
  EXPECT_NE(error_with(kIdentity).find("row 0 is there twice"), std::string::npos);
  EXPECT_NE(error_with(kIdentity).find("rows.jsonl:3"), std::string::npos);
}

TEST_F(Evaluation, ARowIsAppendedOnceAndNotAfterTheEnd) {
  JudgedRowsFile file(out(), kIdentity, kFiles);
  file.append(rows_[0]);
  EXPECT_THROW(file.append(rows_[0]), LogicError);
  file.finish();
  EXPECT_THROW(file.append(rows_[1]), LogicError);
}

}  // namespace
}  // namespace elastron::reward
