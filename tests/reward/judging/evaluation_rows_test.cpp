// Which rows eval-reward judges, and in which order of files.
#include "reward/judging/evaluation_rows.h"

#include <gtest/gtest.h>

#include "tests/data/support.h"

namespace elastron::reward {
namespace {

using data::test::error_of;

class EvaluationRows : public ::testing::Test {
 protected:
  EvaluationRows() {
    for (const char* name : {"Long-form_Generation", "Another", "Long-context_Reasoning"}) {
      scratch_.write(
          "bench/" + std::string(name) + ".jsonl",
          R"({"prompt": "p", "chosen": "a", "rejected": ")" + std::string(name) + "\"}\n");
    }
    scratch_.write("bench/README.md", "not a row");
  }
  std::vector<EvaluationFile> read(const std::vector<std::string>& paths) {
    return read_evaluation_files(paths, BadRows::error, data::BadRecords::error, false);
  }
  std::vector<std::string> names(const std::vector<std::string>& paths) {
    return names_of(read(paths));
  }
  const test::Scratch scratch_;
};

TEST_F(EvaluationRows, FoldersAndPatternsComeInTheBenchmarksOrder) {
  const std::vector<std::string> all = {"Long-context_Reasoning", "Long-form_Generation",
                                        "Another"};
  EXPECT_EQ(names({scratch_ / "bench"}), all);
  EXPECT_EQ(names({scratch_ / "bench/*.jsonl"}), all);
  EXPECT_EQ(names({scratch_ / "ben[c]h"}), all);
  EXPECT_EQ(names({scratch_ / "bench/Long-f*", scratch_ / "bench/Another.jsonl"}),
            (std::vector<std::string>{"Long-form_Generation", "Another"}));
  // Named one by one they stay in the order of their names.
  EXPECT_EQ(names({scratch_ / "bench/Another.jsonl", scratch_ / "bench/Long-context*"}),
            (std::vector<std::string>{"Another", "Long-context_Reasoning"}));
  EXPECT_EQ(rows_checksum(read({scratch_ / "bench"})),
            rows_checksum(read({scratch_ / "bench/*.jsonl"})));
}

TEST_F(EvaluationRows, WhatIsNotThereIsRefused) {
  EXPECT_NE(error_of<UsageError>([&] { read({scratch_ / "none"}); }), "");
  EXPECT_NE(error_of<InputError>([&] { read({scratch_ / "none*"}); }).find("no file matches"),
            std::string::npos);
  scratch_.write("empty/README.md", "");
  EXPECT_NE(error_of<InputError>([&] { read({scratch_ / "empty"}); }).find("no .jsonl files"),
            std::string::npos);
  scratch_.write("other/Another.jsonl", R"({"prompt": "p", "chosen": "a", "rejected": "b"})"
                                        "\n");
  EXPECT_NE(error_of<UsageError>([&] {
              read({scratch_ / "bench", scratch_ / "other"});
            }).find("two files are called Another"),
            std::string::npos);
}

// Rows of one's own have a length class by their tokens.
TEST_F(EvaluationRows, ALengthClassByTokens) {
  const auto files = read({scratch_ / "bench/Another.jsonl"});
  const auto length = [&](int64_t tokens) {
    return unjudged(files[0], files[0].content.rows[0], tokens).length;
  };
  EXPECT_EQ(length(0), "8k");
  EXPECT_EQ(length(8000), "8k");
  EXPECT_EQ(length(8001), "16k");
  EXPECT_EQ(length(64000), "64k");
  EXPECT_EQ(length(10'000'000), "128k");
}

}  // namespace
}  // namespace elastron::reward
