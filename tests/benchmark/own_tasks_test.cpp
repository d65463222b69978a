// Tasks of our own in RULER's form: answers that are there, lengths and places as asked for, the
// same rows from the same seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

#include "benchmark/scores/python_text.h"
#include "benchmark/synthetic/lexicon.h"
#include "benchmark/synthetic/own_task.h"
#include "core/error.h"
#include "data/space.h"

namespace elastron::benchmark {
namespace {

const data::Tokenizer& tokenizer() {
  static const auto loaded =
      data::load_tokenizer(std::string(ELASTRON_TEST_FIXTURES) + "/tokenizer/qwen3");
  return *loaded;
}

RulerRow row_of(std::string_view task, int64_t index, const OwnTaskOptions& options) {
  return own_ruler_row(*ruler_task(task), index, options, tokenizer());
}

int64_t times(const std::string& text, const std::string& part) {
  int64_t count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(OwnTasks, FillTheLengthAndHoldTheirAnswers) {
  for (const RulerTask& task : ruler_tasks()) {
    for (const int64_t length : {2048, 5000}) {
      const RulerRow row = row_of(task.name, 3, {.length = length});
      const auto tokens = int64_t(tokenizer().encode(row.input + row.answer_prefix).size());
      EXPECT_EQ(row.length, tokens + task.new_tokens) << task.name;
      EXPECT_LE(row.length, length) << task.name;
      // A unit of text more may not fit: the longest is a passage of some sixty tokens.
      EXPECT_GT(row.length, length - length / 128 - 80) << task.name;
      EXPECT_FALSE(row.outputs.empty());
      for (const std::string& output : row.outputs) {
        EXPECT_GE(times(row.input, output), 1) << task.name << ": " << output;
      }
      EXPECT_EQ(std::set(row.outputs.begin(), row.outputs.end()).size(), row.outputs.size());
      EXPECT_EQ(row.others["task"], "elastron-" + std::string(task.name));
      EXPECT_EQ(row.input.find("RULER"), std::string::npos);
    }
  }
}

TEST(OwnTasks, ArePureFunctionsOfSeedAndIndex) {
  for (const RulerTask& task : ruler_tasks()) {
    const auto text = [&](int64_t index, uint64_t seed) {
      const RulerRow row = row_of(task.name, index, {.seed = seed, .length = 2048});
      return ruler_data_row(row).dump();
    };
    EXPECT_EQ(text(1, 5), text(1, 5)) << task.name;
    EXPECT_NE(row_of(task.name, 1, {.seed = 5, .length = 2048}).outputs,
              row_of(task.name, 2, {.seed = 5, .length = 2048}).outputs)
        << task.name;
    EXPECT_NE(text(1, 5), text(1, 6)) << task.name;
  }
}

TEST(OwnTasks, NeedlesLieWhereTheyAreAskedFor) {
  for (const char* task : {"niah_single_1", "niah_single_2", "niah_multikey_1", "niah_multikey_2",
                           "niah_multivalue", "niah_multiquery", "vt", "qa_1"}) {
    for (const int64_t depth : {0, 25, 50, 100}) {
      const RulerRow row = row_of(task, 0, {.length = 4096, .depth_percent = depth});
      const double place = double(row.input.find(row.outputs[0])) / double(row.input.size());
      // The question and the instructions are part of the text, and sentences differ in length.
      EXPECT_NEAR(place, double(depth) / 100, 0.07) << task;
      EXPECT_EQ(row.others["depth_percent"], double(depth));
    }
  }
}

TEST(OwnTasks, OneAnswerIsRight) {
  // Asked keys stand in as many sentences as they have values; nothing else tells their codes.
  const RulerRow one = row_of("niah_multikey_2", 7, {.length = 8000});
  const std::string question = one.input.substr(one.input.rfind("Question"));
  const size_t of = question.find("locker of ") + 10;
  const std::string key = question.substr(of, question.find('?') - of);
  EXPECT_EQ(times(one.input, "the locker of " + key + " opens"), 1);
  EXPECT_GT(times(one.input, " opens with the code "), 50);
  EXPECT_EQ(row_of("niah_multivalue", 0, {}).outputs.size(), 4u);
  EXPECT_EQ(row_of("niah_multiquery", 0, {}).outputs.size(), 4u);
  EXPECT_EQ(row_of("vt", 0, {}).outputs.size(), 5u);
  EXPECT_EQ(row_of("niah_single_3", 0, {}).outputs[0].size(), 36u);

  for (const char* task : {"qa_1", "qa_2"}) {
    const RulerRow row = row_of(task, 0, {.length = 8000});
    EXPECT_EQ(times(row.input, "in the town of " + row.outputs[0] + "."), 1) << task;
  }
}

TEST(OwnTasks, WordsThatAreAskedForComeMostOften) {
  for (const char* task : {"cwe", "fwe"}) {
    for (const int64_t length : {1500, 6000}) {
      const RulerRow row = row_of(task, 2, {.length = length});
      const std::string list = row.input.substr(0, row.input.rfind("Question"));
      const std::string words = list.substr(list.find("\n\n") + 2);
      std::map<std::string, int64_t> counts;
      for (const auto word : data::split_at_space(words)) {
        if (std::isdigit(uint8_t(word[0])) == 0) ++counts[std::string(word)];
      }
      int64_t least = length;
      for (const std::string& output : row.outputs) {
        least = std::min(least, counts.at(output));
        counts.erase(output);
      }
      for (const auto& [word, count] : counts) EXPECT_LT(count, least) << task << ": " << word;
      EXPECT_GT(counts.size(), 10u);
    }
  }
}

TEST(OwnTasks, WordsAreDifferent) {
  std::set<std::string> words, people;
  for (uint32_t i = 0; i < kMadeUpWords; ++i) words.insert(made_up_word(i));
  EXPECT_EQ(words.size(), kMadeUpWords);
  for (uint32_t i = 0; i < kPeople; ++i) people.insert(person(i));
  EXPECT_EQ(people.size(), kPeople);
  std::set<std::string> keys;
  for (uint32_t i = 0; i < kKeys; ++i) keys.insert(key_word(i));
  EXPECT_EQ(keys.size(), kKeys);
}

TEST(OwnTasks, TooShortIsSaid) {
  try {
    row_of("cwe", 0, {.length = 200});
    FAIL();
  } catch (const UsageError& error) {
    const std::string line = error.what();
    EXPECT_NE(line.find("elastron-cwe"), line.npos) << line;
    EXPECT_NE(line.find("--length"), line.npos) << line;
  }
}

}  // namespace
}  // namespace elastron::benchmark
