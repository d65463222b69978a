// elastron tokenize as a filter: ids, decoding, conversations, and exit codes.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

const std::string kFixtures = ELASTRON_TEST_FIXTURES;
const std::string kQwen3 = "--model " + kFixtures + "/tokenizer/qwen3 ";

Outcome tokenize(const std::string& arguments, const std::string& input,
                 const std::string& out = "") {
  const Scratch scratch;
  write_text(scratch / "in", input);
  const std::string command = std::string(ELASTRON_PROGRAM) + " tokenize " + arguments + " <" +
                              (scratch / "in") + " >" + (out.empty() ? scratch / "out" : out) +
                              " 2>" + (scratch / "err");
  const int status = std::system(for_shell(command).c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          read_text(scratch / "out"), read_text(scratch / "err")};
}

TEST(Tokenize, LineByLineAndBack) {
  const std::string text = "Hello, world!\n\n caf\u00e9 <|im_end|>\r\nno newline at the end";
  const Outcome ids = tokenize(kQwen3, text);
  EXPECT_EQ(ids.code, 0) << ids.err;
  EXPECT_EQ(std::count(ids.out.begin(), ids.out.end(), '\n'), 4);
  EXPECT_NE(ids.out.find("\n[]\n"), std::string::npos) << ids.out;
  const Outcome back = tokenize(kQwen3 + "--decode", ids.out);
  EXPECT_EQ(back.code, 0) << back.err;
  EXPECT_EQ(back.out,
            "\"Hello, world!\"\n\"\"\n\" caf\\u00e9 <|im_end|>\\r\"\n\"no newline at the end\"\n");
  EXPECT_EQ(tokenize(kQwen3, "").out, "");
}

TEST(Tokenize, WordLevelToo) {
  const Outcome ids = tokenize("--model " + tiny_shapes(), "zz\n");
  EXPECT_EQ(ids.code, 0) << ids.err;
  EXPECT_EQ(ids.out, "[0]\n");
}

TEST(Tokenize, Conversations) {
  const std::string question = R"([{"role": "user", "content": "a\nb"}])";
  const std::string answered = R"([{"role": "user", "content": "a"},
      {"role": "assistant", "content": "b"}])";
  const auto shown = [](const std::string& line, const std::string& kind) {
    std::string one_line = line;
    std::erase(one_line, '\n');
    const Outcome ids = tokenize(kQwen3 + "--chat --chat-template " + kind, one_line);
    EXPECT_EQ(ids.code, 0) << ids.err;
    return tokenize(kQwen3 + "--decode", ids.out).out;
  };
  EXPECT_EQ(shown(question, "qwen3"),
            "\"<|im_start|>user\\na\\nb<|im_end|>\\n<|im_start|>assistant\\n<think>\\n\\n</think>"
            "\\n\\n\"\n");
  const std::string llama = shown(answered, "llama3");
  EXPECT_TRUE(llama.ends_with("<|end_header_id|>\\n\\nb<|eot_id|>\"\n")) << llama;
}

// A template of the folder's is not taken for another one: neither by itself nor without a word.
TEST(Tokenize, TheFoldersOwnTemplate) {
  const Scratch folder;
  const std::string chat = kFixtures + "/chat/", model = "--model " + folder.path() + " --chat";
  const std::string question = R"([{"role": "user", "content": "a"}])";
  write_text(folder / "tokenizer.json", read_text(kFixtures + "/tokenizer/qwen3/tokenizer.json"));
  const std::string qwen3 = read_text(chat + "qwen3/chat_template.jinja");
  write_text(folder / "chat_template.jinja", qwen3);
  const Outcome known = tokenize(model, question);
  EXPECT_EQ(known.code, 0) << known.err;
  EXPECT_EQ(known.err, "");
  // One that has everything of Qwen3's, and more.
  write_text(folder / "chat_template.jinja", "{{- '' }}" + qwen3);
  const Outcome unknown = tokenize(model, question);
  EXPECT_EQ(unknown.code, 3);
  EXPECT_EQ(unknown.err.find("error: the chat template (XXH3-128 "), 0u) << unknown.err;
  const Outcome asked = tokenize(model + " --chat-template qwen3", question);
  EXPECT_EQ(asked.code, 0) << asked.err;
  EXPECT_EQ(asked.out, known.out);
  EXPECT_NE(asked.err.find("warning: data.chat_template: qwen3 is used as asked, and the folder's "
                           "own template is another one (" +
                           (folder / "chat_template.jinja")),
            std::string::npos)
      << asked.err;
  EXPECT_EQ(std::count(asked.err.begin(), asked.err.end(), '\n'), 1) << asked.err;
}

TEST(Tokenize, SaysWhatIsWrong) {
  const struct {
    std::string arguments, input;
    int code;
    std::string message;
  } table[] = {
      {"", "x", 2, "--model is required"},
      {"--model /nonexistent", "x", 3, "/nonexistent/tokenizer.json"},
      {kQwen3 + "--chat --decode", "", 2, "excludes"},
      {kQwen3 + "--chat --chat-template x", "", 2, "x not in"},
      {kQwen3 + "--chat", "[]", 3, "the model has no chat template"},
      {kQwen3 + "--chat --chat-template qwen3", "[]", 3,
       "the conversation is not a list of messages (standard input, line 1)"},
      {kQwen3 + "--chat --chat-template qwen3", "Hello", 3, "not acceptable JSON"},
      {kQwen3 + "--chat --chat-template qwen3", R"([{"role": "tool", "content": ""}])", 3,
       "role 'tool'"},
      {kQwen3 + "--chat --chat-template qwen3",
       R"([{"role": "assistant", "content": "", "tool_calls": [1]}])", 3,
       "a message of the conversation has the key 'tool_calls', which is not rendered (standard "
       "input, line 1)"},
      {kQwen3 + "--chat --chat-template mistral-v3", R"([{"role": "assistant", "content": "a"}])",
       3, "the roles of a conversation do not alternate (standard input, line 1)"},
      {kQwen3 + "--decode", "[1]\n[1, 99999]", 3,
       "token id 99999 (standard input, line 2): ids of this tokenizer are 0 to 5025"},
      {kQwen3 + "--decode", "[-1]", 3, "token id -1"},
      {kQwen3 + "--decode", "{}", 3, "not a list of token ids"},
      {kQwen3 + "--decode", "[1.5]", 3, "not a list of token ids"},
  };
  for (const auto& row : table) {
    const Outcome outcome = tokenize(row.arguments, row.input);
    EXPECT_EQ(outcome.code, row.code) << row.arguments << "\n" << outcome.err;
    EXPECT_NE(outcome.err.find(row.message), std::string::npos) << outcome.err;
    EXPECT_TRUE(outcome.err.starts_with("error: ")) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }
  EXPECT_EQ(tokenize(kQwen3, "x\n", "/dev/full").code, 3);
}

}  // namespace
}  // namespace elastron::test
