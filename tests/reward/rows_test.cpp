// Preference rows of both forms, what is wrong with rows, and the real sample where it is at hand.
#include "reward/rows.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/error.h"

namespace elastron::reward {
namespace {

namespace fs = std::filesystem;

class Rows : public ::testing::Test {
 protected:
  Rows() {
    std::string pattern = (fs::temp_directory_path() / "elastron-rows-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~Rows() override { fs::remove_all(folder_); }
  std::string file(const std::string& text) {
    const std::string path = folder_ + "/rows.jsonl";
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  PreferenceFile read(const std::string& text, BadRows bad = BadRows::error) {
    return read_preference_file(file(text), bad);
  }
  // The message of the InputError, without the folder's name.
  std::string failure(const std::string& text) {
    try {
      read(text);
    } catch (const InputError& error) {
      std::string what = error.what();
      if (const size_t at = what.find(folder_); at != what.npos) what.erase(at, folder_.size() + 1);
      return what;
    }
    return "none";
  }
  std::string folder_;
};

const std::string kGood = R"({"prompt": "p", "chosen": "a", "rejected": "b"})"
                          "\n";
const std::string kBench =
    R"({"question": "q", "chosen": "a", "rejected": "b", "task": "S-Drop", "ctx_length": "8k"})"
    "\n";

TEST_F(Rows, Forms) {
  const auto rows =
      read(kGood +
           R"({"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],)"
           R"( "chosen": "x", "rejects": ["y", "z"], "margin": 0.5, "else": {"deep": [1]}})"
           "\n\n")
          .rows;
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].prompt.size(), 1u);
  EXPECT_EQ(rows[0].prompt[0].role, "user");
  EXPECT_EQ(rows[0].prompt[0].content, "p");
  EXPECT_EQ(rows[0].rejected, std::vector<std::string>{"b"});
  EXPECT_EQ(rows[0].margin, 0);
  EXPECT_EQ(rows[1].prompt[0].content, "s");
  EXPECT_EQ(rows[1].rejected, (std::vector<std::string>{"y", "z"}));
  EXPECT_EQ(rows[1].margin, 0.5);
  EXPECT_EQ(rows[1].where, folder_ + "/rows.jsonl:2");
  const auto bench = read(kBench).rows.at(0);
  EXPECT_EQ(bench.setting, "S-Drop");
  EXPECT_EQ(bench.length, "8k");
  EXPECT_EQ(bench.prompt[0].content, "q");
}

TEST_F(Rows, WhatIsNoRowNamesFileLineAndField) {
  const std::pair<std::string, std::string> cases[] = {
      {R"({"prompt": "p", "rejected": "b"})", "field 'chosen' is missing (rows.jsonl:2)"},
      {R"({"prompt": "p", "chosen": "a"})", "field 'rejected' is missing (rows.jsonl:2)"},
      {R"({"chosen": "a", "rejected": "b"})", "field 'question' is missing (rows.jsonl:2)"},
      {R"({"prompt": 3, "chosen": "a", "rejected": "b"})",
       "field 'prompt' is neither a string nor a list of messages (rows.jsonl:2)"},
      {R"({"prompt": [{"role": "robot", "content": "x"}], "chosen": "a", "rejected": "b"})",
       "a message has the role 'robot' (rows.jsonl:2)"},
      {R"({"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"})",
       "field 'content' is missing (rows.jsonl:2)"},
      {R"({"prompt": "p", "chosen": ["a"], "rejected": "b"})",
       "field 'chosen' is not a string (rows.jsonl:2)"},
      {R"({"prompt": "p", "chosen": "a", "rejects": []})",
       "field 'rejects' is neither a string nor a list of some (rows.jsonl:2)"},
      {R"({"prompt": "p", "chosen": "a", "rejected": "b", "rejects": "c"})",
       "the row has both 'rejected' and 'rejects' (rows.jsonl:2)"},
      {R"({"prompt": "p", "chosen": "a", "rejected": "b", "margin": "1"})",
       "field 'margin' is not a number (rows.jsonl:2)"},
      {R"([1])", "the line is not a JSON object (rows.jsonl:2)"},
      {R"({"prompt": "p", "chosen")", "the file ends in the middle of a record (rows.jsonl:2)"},
      {kBench,
       "a row of MemoryRewardBench in a file that began with the other form (rows.jsonl:2)"},
  };
  for (const auto& [line, message] : cases) {
    EXPECT_EQ(failure(kGood + line).substr(0, message.size()), message) << line;
  }
  EXPECT_NE(failure(kGood + "{\"prompt\"\n").find("rows.jsonl:2"), std::string::npos);
  EXPECT_NE(failure("").find("rows.jsonl"), std::string::npos);
}

TEST_F(Rows, UselessRowsAreCountedOrNamed) {
  const std::string text = kGood + kGood +
                           R"({"prompt": "p", "chosen": " \n", "rejected": "b"})"
                           "\n"
                           R"({"prompt": "p", "chosen": "a", "rejects": ["b", ""]})"
                           "\n"
                           R"({"prompt": "p", "chosen": "b", "rejects": ["c", "b"]})"
                           "\n"
                           R"({"prompt": "other", "chosen": "a", "rejected": "b"})";
  const PreferenceFile skipped = read(text, BadRows::skip);
  EXPECT_EQ(skipped.lines(), 6);
  EXPECT_EQ(skipped.rows.size(), 2u);
  EXPECT_EQ(skipped.left_out,
            (std::map<std::string, int64_t>{
                {"chosen equals rejected", 1}, {"duplicate row", 1}, {"empty response", 2}}));
  EXPECT_EQ(failure(text).substr(0, 28), "duplicate row (rows.jsonl:2)");
  std::string odd = kBench;
  odd.replace(odd.find("8k"), 2, "9k");
  EXPECT_EQ(read(odd, BadRows::skip).left_out.at("unknown length class"), 1);
}

TEST_F(Rows, TheRealSample) {
  const std::string folder = std::string(ELASTRON_SHARED_DIR) + "/data/memory_reward_bench/";
  if (!fs::exists(folder)) GTEST_SKIP() << "the benchmark's sample is not here";
  const auto of = [&](const char* name) {
    return read_preference_file(folder + name, BadRows::error).rows;
  };
  const auto reasoning = of("Long-context_Reasoning.jsonl");
  ASSERT_EQ(reasoning.size(), 2u);
  EXPECT_EQ(reasoning[0].setting, "P-Noise");
  EXPECT_EQ(reasoning[0].subtask, "qa7-parallel3-self_correct");
  EXPECT_EQ(reasoning[1].setting, "S-Drop");
  const auto characters = [](const std::string& text) {
    return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
  };
  EXPECT_EQ(characters(reasoning[1].chosen), 26681);
  EXPECT_EQ(characters(reasoning[1].rejected[0]), 2731);
  EXPECT_EQ(of("Multi-turn_Dialogue_Understanding.jsonl").at(0).setting, "Mem0-MEM");
  EXPECT_EQ(of("Long-form_Generation.jsonl").at(1).length, "64k");
}

}  // namespace
}  // namespace elastron::reward
