// What models are asked: prompts of the benchmarks' rows, in tokens, as the published programs have
// them.
#include "benchmark/longbench/run_tasks.h"

#include <gtest/gtest.h>

#include "benchmark/longbench_v2/run_tasks.h"
#include "benchmark/ruler/run_tasks.h"
#include "core/error.h"
#include "core/file/input_file.h"
#include "data/leading_ids.h"
#include "tests/support/scratch.h"

namespace elastron::benchmark {
namespace {

using data::ChatTemplateSetting;
using test::Scratch;

const std::string kFixtures = ELASTRON_TEST_FIXTURES;

// Folders with the shapes, the tokenizer and the chat template of a family.
class Prompts : public ::testing::Test {
 protected:
  std::string model(const std::string& family, int positions = 1000) const {
    auto config =
        nlohmann::json::parse(read_small_file(kFixtures + "/tiny_model/config.json", 9999));
    config["vocab_size"] = 5200;
    config["max_position_embeddings"] = positions;
    scratch_.write(family + "/config.json", config.dump());
    const auto copy = [&](const std::string& from, const std::string& name) {
      scratch_.write(family + "/" + name, read_small_file(kFixtures + from + name, 1 << 24));
    };
    copy("/tokenizer/" + family + "/", "tokenizer.json");
    copy("/chat/" + family + "/", "chat_template.jinja");
    return scratch_ / family;
  }
  static std::string text(const Prompter& prompter, const Question& question) {
    return prompter.tokenizer().decode(question.ids);
  }

  Scratch scratch_;
};

const std::string kUser = "<|im_start|>user\n";
const std::string kAssistant =
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";  // thinking off

TEST_F(Prompts, OfRulerAreAsPreparedOrInTheTemplate) {
  const Prompter prompter(model("qwen3"), ChatTemplateSetting::automatic);
  scratch_.write(
      "vt/validation.jsonl",
      R"({"index": 7, "input": "What is it?", "outputs": ["a"], "answer_prefix": " It is"})");
  scratch_.write("elastron-qa_2/validation.jsonl",
                 R"({"index": 0, "input": "b", "outputs": ["a"]})");
  const auto bare = ruler_run_tasks(scratch_.path(), {}, prompter, {});
  ASSERT_EQ(bare.size(), 2u);
  EXPECT_EQ(bare[0]->name(), "vt");
  EXPECT_EQ(bare[1]->name(), "elastron-qa_2");
  EXPECT_EQ(text(prompter, bare[0]->question(0)), "What is it? It is");
  EXPECT_EQ(bare[0]->question(0).max_tokens, 30);
  EXPECT_EQ(bare[1]->question(0).max_tokens, 32);
  const auto chat = ruler_run_tasks(scratch_.path(), {"vt"}, prompter, {.chat = true});
  ASSERT_EQ(chat.size(), 1u);
  EXPECT_EQ(text(prompter, chat[0]->question(0)), kUser + "What is it?" + kAssistant + " It is");
}

TEST_F(Prompts, OfLongBenchAreBareForSomeSets) {
  const Prompter prompter(model("qwen3"), ChatTemplateSetting::automatic);
  const std::string row =
      R"({"input": "Q", "context": "C {input}", "answers": ["a"], "length": 3, "all_classes": ["a"]})";
  for (const char* set : {"qasper", "trec", "samsum", "lcc"}) {
    scratch_.write(std::string("data/") + set + ".jsonl", row);
  }
  scratch_.write(
      "dataset2prompt.json",
      R"({"qasper": "{context} and {input}", "trec": "{{{context}}}", "samsum": "{context}",
                     "lcc": "{context}"})");
  scratch_.write("dataset2maxlen.json", R"({"qasper": 128, "trec": 64, "samsum": 128, "lcc": 64})");
  const auto tasks = longbench_run_tasks(scratch_.path(), scratch_.path(), {}, prompter, {});
  std::map<std::string, Question> asked;
  for (const auto& task : tasks) asked[task->name()] = task->question(0);
  EXPECT_EQ(text(prompter, asked.at("qasper")), kUser + "C {input} and Q" + kAssistant);
  EXPECT_EQ(text(prompter, asked.at("trec")), "{C {input}}");
  EXPECT_EQ(text(prompter, asked.at("lcc")), "C {input}");
  EXPECT_EQ(asked.at("qasper").max_tokens, 128);
  EXPECT_EQ(asked.at("trec").max_tokens, 64);
  // Dialogues end at a newline, behind one token at the least; nothing else does.
  EXPECT_EQ(asked.at("samsum").stop_ids, prompter.tokenizer().encode("\n"));
  EXPECT_EQ(asked.at("samsum").stop_ids.size(), 1u);
  EXPECT_EQ(asked.at("samsum").min_tokens, 1);
  EXPECT_TRUE(asked.at("lcc").stop_ids.empty());
  EXPECT_EQ(asked.at("lcc").min_tokens, 0);
}

TEST_F(Prompts, AreCutBeforeTheTemplateIsPutAroundThem) {
  const Prompter prompter(model("qwen3"), ChatTemplateSetting::automatic);
  const auto whole = prompter.tokenizer().encode("a b c d e f g h i j");
  ASSERT_EQ(whole.size(), 10u);
  const auto question =
      prompter.question("a b c d e f g h i j", {.limit = 5, .answer_prefix = ""}, "row");
  EXPECT_TRUE(question.truncated);
  EXPECT_EQ(text(prompter, question), kUser + "a b i j" + kAssistant);
  const auto joined =
      prompter.question("a b c d e f g h i j",
                        {.limit = 5, .join = MiddleCut::Join::tokens, .answer_prefix = ""}, "row");
  EXPECT_EQ(text(prompter, joined), kUser + "a b h i j" + kAssistant);
  EXPECT_FALSE(prompter.question("a b", {.limit = 5, .answer_prefix = ""}, "row").truncated);
  // What is left of 1000 positions by new tokens and the template holds a prompt of that many tokens.
  std::string text;
  for (int i = 0; i < 3000; ++i) text += " a";
  const int64_t limit = prompter.largest_limit(128);
  const auto longest = prompter.question(text, {.limit = limit, .answer_prefix = ""}, "row");
  EXPECT_LE(int64_t(longest.ids.size()) + 128, 1000);
  EXPECT_GT(int64_t(longest.ids.size()) + 128, 960);
  EXPECT_THROW(prompter.largest_limit(950), UsageError);
}

TEST_F(Prompts, BeginWithWhatTheTokenizerPutsBeforeAText) {
  const std::string folder = model("llama3");
  const auto begin = data::leading_ids(folder);
  ASSERT_EQ(begin, std::vector<int32_t>{5000});
  EXPECT_TRUE(data::leading_ids(model("qwen3")).empty());
  const Prompter prompter(folder, ChatTemplateSetting::automatic);
  EXPECT_EQ(text(prompter, prompter.question("Hi", {.chat = false, .answer_prefix = ""}, "row")),
            "<|begin_of_text|>Hi");
  // Once, where the template has it too.
  const std::string chat =
      text(prompter, prompter.question("Hi", {.chat = true, .answer_prefix = ""}, "row"));
  EXPECT_TRUE(chat.starts_with("<|begin_of_text|><|start_header_id|>")) << chat;
  // It counts for the limit: two tokens are left, of which the half that it stands in has none.
  const auto cut =
      prompter.question("a b c d e", {.chat = false, .limit = 2, .answer_prefix = ""}, "row");
  EXPECT_EQ(text(prompter, cut), "<|begin_of_text|> e");

  auto tokenizer = nlohmann::json::parse(read_small_file(folder + "/tokenizer.json", 1 << 24));
  tokenizer["post_processor"] = {{"type", "RobertaProcessing"}};
  scratch_.write("llama3/tokenizer.json", tokenizer.dump());
  EXPECT_THROW(data::leading_ids(folder), InputError);
}

TEST_F(Prompts, OfLongBenchV2AreAskedTwiceForThoughts) {
  const Prompter prompter(model("qwen3", 4000), ChatTemplateSetting::automatic);
  nlohmann::json row = {{"_id", "x"},           {"domain", "d"},     {"sub_domain", "s"},
                        {"difficulty", "easy"}, {"length", "short"}, {"question", " Which? "},
                        {"choice_A", "one "},   {"choice_B", "two"}, {"choice_C", "three"},
                        {"choice_D", "four"},   {"answer", "B"},     {"context", " about $Q$\n"}};
  scratch_.write("data.jsonl", row.dump());
  scratch_.write("0shot.txt", "T $DOC$ Q $Q$ A $C_A$ D $C_D$");
  scratch_.write("0shot_cot.txt", "Think $DOC$ $Q$");
  scratch_.write("0shot_cot_ans.txt", "$COT$ so $Q$");
  scratch_.write("0shot_no_context.txt", "Guess $Q$");
  using Form = LongBenchV2Asking::Form;
  const auto task = [&](Form form) {
    return std::move(
        longbench_v2_run_tasks(scratch_.path(), scratch_.path(), "m.1", prompter, {.form = form})
            .front());
  };
  const auto plain = task(Form::plain);
  EXPECT_EQ(plain->name(), "m.1");
  // Marks in the document are replaced as well.
  EXPECT_EQ(text(prompter, plain->question(0)),
            kUser + "T about Which? Q Which? A one D four" + kAssistant);
  EXPECT_EQ(plain->question(0).max_tokens, 128);
  EXPECT_FALSE(plain->next_question(0, {"x"}).has_value());
  EXPECT_EQ(plain->prediction(0, {"The correct answer is (B)"})["judge"], true);
  const auto thoughts = task(Form::thoughts);
  EXPECT_EQ(thoughts->name(), "m.1_cot");
  EXPECT_EQ(thoughts->question(0).max_tokens, 1024);
  const auto second = thoughts->next_question(0, {" hm \n"});
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(text(prompter, *second), kUser + "hm so Which?" + kAssistant);
  EXPECT_EQ(second->max_tokens, 128);
  EXPECT_FALSE(thoughts->next_question(0, {"hm", "B"}).has_value());
  EXPECT_EQ(thoughts->prediction(0, {"hm", "The correct answer is B"})["response_cot"], "hm");
  const auto guess = task(Form::no_context);
  EXPECT_EQ(guess->name(), "m.1_no_context");
  EXPECT_EQ(text(prompter, guess->question(0)), kUser + "Guess Which?" + kAssistant);
  scratch_.write("0shot.txt", "$Q$");
  EXPECT_THROW(task(Form::plain), InputError);
}

}  // namespace
}  // namespace elastron::benchmark
