// Preference rows of both forms, what is wrong with rows, and the real sample where it is at hand.
#include "reward/rows.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "tests/support/scratch.h"

namespace elastron::reward {
namespace {

namespace fs = std::filesystem;

class Rows : public ::testing::Test {
 protected:
  std::string file(const std::string& text) { return scratch_.write("rows.jsonl", text); }
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
  const test::Scratch scratch_;
  const std::string& folder_ = scratch_.path();
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
      {R"({"chosen": "a", "rejected": "b"})", "field 'prompt' is missing (rows.jsonl:2)"},
      {R"({"prompt": 3, "chosen": "a", "rejected": "b"})",
       "field 'prompt' is neither a string nor a list of messages (rows.jsonl:2)"},
      {R"({"prompt": [{"role": "robot", "content": "x"}], "chosen": "a", "rejected": "b"})",
       "a message of 'prompt' has the role 'robot' (rows.jsonl:2)"},
      {R"({"prompt": [{"role": "user", "content": "x", "name": "Ann"}], "chosen": "a", "rejected": "b"})",
       "a message of 'prompt' has the key 'name', which is not rendered (rows.jsonl:2)"},
      {R"({"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"})",
       "field 'content' is missing in a message of 'prompt' (rows.jsonl:2)"},
      {R"({"prompt": "p", "chosen": ["a"], "rejected": "b"})",
       "a message of 'chosen' is not an object (rows.jsonl:2)"},
      {R"({"prompt": "p", "chosen": 3, "rejected": "b"})",
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
  EXPECT_EQ(
      failure(text),
      "duplicate row (rows.jsonl:2): mend the row, or set reward.bad_rows: skip, which leaves "
      "such rows out and counts them");
  std::string odd = kBench;
  odd.replace(odd.find("8k"), 2, "9k");
  EXPECT_EQ(read(odd, BadRows::skip).left_out.at("unknown length class"), 1);
}

std::string messages(const std::vector<std::pair<std::string, std::string>>& turns) {
  std::string list;
  for (const auto& [role, content] : turns) {
    list += std::string(list.empty() ? "" : ", ") + R"({"role": ")" + role + R"(", "content": ")" +
            content + R"("})";
  }
  return "[" + list + "]";
}

std::string shown(const std::vector<data::ChatMessage>& list) {
  std::string text;
  for (const auto& m : list) text += m.role.substr(0, 1) + ":" + m.content + " ";
  return text;
}

// As published sets have them.
TEST_F(Rows, MessageLists) {
  const std::string good = messages({{"user", "x"}, {"assistant", "good"}});
  const std::string bad = messages({{"user", "x"}, {"assistant", "bad"}});
  const std::string answer = messages({{"assistant", "good"}});
  const std::string worse = messages({{"assistant", "bad"}});
  // The lists begin with the prompt, there is none, the lists follow it, there is a system message.
  for (const std::string& line :
       {R"({"prompt": "x", "chosen": )" + good + R"(, "rejected": )" + bad +
            R"(, "score_chosen": 8.5})",
        R"({"chosen": )" + good + R"(, "rejected": )" + bad + "}",
        R"({"prompt": null, "chosen": )" + good + R"(, "rejects": )" + bad + "}",
        R"({"prompt": "x", "chosen": )" + answer + R"(, "rejected": )" + worse + "}",
        R"({"prompt": )" + messages({{"user", "x"}}) + R"(, "chosen": )" + answer +
            R"(, "rejected": )" + worse + "}",
        R"({"prompt": )" + messages({{"user", "x"}}) + R"(, "chosen": )" + good +
            R"(, "rejected": )" + bad + "}"}) {
    const auto row = read(line).rows.at(0);
    EXPECT_EQ(shown(row.prompt), "u:x ") << line;
    EXPECT_EQ(row.chosen, "good");
    EXPECT_EQ(row.rejected, std::vector<std::string>{"bad"});
    EXPECT_TRUE(row.before.empty());
  }
  // Several turns, a system message, several rejected ones.
  const std::vector<std::pair<std::string, std::string>> talk = {
      {"system", "s"}, {"user", "x"}, {"assistant", "y"}, {"user", "z"}};
  const auto with = [&](const std::string& last) {
    auto turns = talk;
    turns.emplace_back("assistant", last);
    return messages(turns);
  };
  auto row = read(R"({"prompt": "x", "margin": 2, "chosen": )" + with("a") + R"(, "rejected": [)" +
                  with("b") + ", " + with("c") + "]}")
                 .rows.at(0);
  EXPECT_EQ(shown(row.prompt), "s:s u:x a:y u:z ");
  EXPECT_EQ(row.chosen, "a");
  EXPECT_EQ(row.rejected, (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(row.margin, 2);
  // Conversations that part before the last answer.
  row = read(R"({"chosen": )" + with("a") + R"(, "rejected": )" +
             messages({{"system", "s"}, {"user", "x"}, {"assistant", "n"}}) + "}")
            .rows.at(0);
  EXPECT_EQ(shown(row.prompt), "s:s u:x ");
  ASSERT_EQ(row.before.size(), 2u);
  EXPECT_EQ(shown(row.before[0]), "a:y u:z ");
  EXPECT_EQ(shown(row.before[1]), "");
  EXPECT_EQ(row.rejected, std::vector<std::string>{"n"});
  // One that is the beginning of the other: each keeps its last answer.
  row = read(R"({"chosen": )" + with("a") + R"(, "rejected": )" +
             messages({{"system", "s"}, {"user", "x"}, {"assistant", "y"}}) + "}")
            .rows.at(0);
  EXPECT_EQ(shown(row.prompt), "s:s u:x ");
  EXPECT_EQ(row.rejected, std::vector<std::string>{"y"});
}

TEST_F(Rows, MessageListsThatAreNoPair) {
  const std::string good = messages({{"user", "x"}, {"assistant", "good"}});
  const auto pair = [](const std::string& chosen, const std::string& rejected,
                       const std::string& more = "") {
    return "{" + more + R"("chosen": )" + chosen + R"(, "rejected": )" + rejected + "}";
  };
  const std::pair<std::string, std::string> cases[] = {
      {pair(good, messages({{"user", "y"}, {"assistant", "bad"}})),
       "'chosen' and 'rejected' do not begin with the same message (rows.jsonl:2)"},
      {pair(good, messages({{"user", "x"}})),
       "a list of messages does not end with the assistant's (rows.jsonl:2)"},
      {pair(messages({{"assistant", "a"}}), messages({{"assistant", "b"}})),
       "'chosen' and 'rejected' do not begin with the same message (rows.jsonl:2)"},
      {pair(good, good, R"("prompt": "other", )"),
       "the message lists neither begin with 'prompt' nor with an answer to it (rows.jsonl:2)"},
      {pair(good, "\"bad\""), "'rejected' is not a list of messages (rows.jsonl:2)"},
      {pair(good, "[]"), "'rejected' is not a list of messages (rows.jsonl:2)"},
      {R"({"chosen": )" + good + "}", "field 'rejected' is missing (rows.jsonl:2)"},
      {pair(good, R"([{"role": "user", "content": "x"}, )"
                  R"({"role": "assistant", "content": "b", "tool_calls": [1]}])"),
       "a message of 'rejected' has the key 'tool_calls', which is not rendered (rows.jsonl:2)"},
      {pair(good, good), "chosen equals rejected (rows.jsonl:2)"},
  };
  for (const auto& [line, message] : cases) {
    EXPECT_EQ(failure(kGood + line).substr(0, message.size()), message) << line;
  }
}

TEST_F(Rows, LinesThatAreNoRowsAreLeftOutWhereAsked) {
  const std::string text = kGood + "{\n" + R"({"prompt": "p", "chosen": "a"})" + "\n" +
                           R"({"prompt": "q", "chosen": "a", "rejected": "b"})";
  EXPECT_NE(failure(text), "none");
  const auto file = read_preference_file(this->file(text), BadRows::error, data::BadRecords::skip);
  ASSERT_EQ(file.rows.size(), 2u);
  EXPECT_EQ(file.rows[1].index, 3);
  EXPECT_EQ(file.lines(), 4);
  EXPECT_EQ(file.left_out,
            (std::map<std::string, int64_t>{{"no row: field 'rejected' is missing", 1},
                                            {"no row: not acceptable JSON: unexpected end", 1}}));
  EXPECT_EQ(file.bad_rows.at(0).index, 1);
}

// What is on disk from before keeps its name: a cursor, or a report, of the same rows.
TEST_F(Rows, RowsWithoutTurnsBetweenKeepTheirChecksum) {
  Checksum row, by_hand;
  add_to(row, read(kGood).rows.at(0));
  for (const char* text : {"user", "p", "a", "b"}) by_hand.add(std::string_view(text));
  EXPECT_EQ(row.digest(), by_hand.digest());
}

TEST_F(Rows, TheRealSample) {
  const std::string folder = ELASTRON_TEST_FIXTURES "/memory_reward_bench/";
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
  EXPECT_EQ(characters(reasoning[1].chosen), 1410);
  EXPECT_EQ(characters(reasoning[1].rejected[0]), 1264);
  EXPECT_EQ(of("Multi-turn_Dialogue_Understanding.jsonl").at(0).setting, "Mem0-MEM");
  EXPECT_EQ(of("Long-form_Generation.jsonl").at(1).length, "64k");
}

}  // namespace
}  // namespace elastron::reward
