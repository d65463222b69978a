// Conversations as transformers renders them (tests/oracle/make_chat_fixtures.py), and which
// templates are recognised.
#include "data/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/chat_messages.h"
#include "data/known_templates.h"
#include "tests/data/support.h"

namespace elastron::data {
namespace {

using nlohmann::json;

std::string fixture(const std::string& family) {
  return std::string(ELASTRON_TEST_FIXTURES) + "/chat/" + family;
}

std::string template_of(const std::string& family) {
  std::ostringstream text;
  text << std::ifstream(fixture(family) + "/chat_template.jinja").rdbuf();
  return text.str();
}

const std::pair<const char*, ChatTemplateSetting> kFamilies[] = {
    {"qwen3", ChatTemplateSetting::qwen3}, {"llama3", ChatTemplateSetting::llama3}};

TEST(ChatTemplate, RendersAsTheReference) {
  for (const auto& [family, kind] : kFamilies) {
    const auto chat = ChatTemplate::open(fixture(family), ChatTemplateSetting::automatic);
    ASSERT_EQ(chat.kind(), kind);
    std::ifstream file(fixture(family) + "/cases.jsonl");
    int cases = 0;
    for (std::string line; std::getline(file, line); ++cases) {
      const json c = json::parse(line);
      std::vector<ChatMessage> messages;
      for (const json& m : c["messages"]) messages.push_back({m[0], m[1]});
      EXPECT_EQ(chat.render(messages, c["generation_prompt"]).text, c["text"]) << line;
    }
    EXPECT_GT(cases, 300);
  }
}

TEST(ChatTemplate, IsFoundInTheFolder) {
  using enum ChatTemplateSetting;
  const test::Scratch folder;
  const auto kind = [&] { return ChatTemplate::open(folder.path(), automatic).kind(); };
  EXPECT_EQ(kind(), none);
  folder.write("tokenizer_config.json", "{}");
  EXPECT_EQ(kind(), none);
  folder.write("tokenizer_config.json", json{{"chat_template", template_of("llama3")}}.dump());
  EXPECT_EQ(kind(), llama3);
  const json named = {{{"name", "tool_use"}, {"template", "x"}},
                      {{"name", "default"}, {"template", template_of("qwen3")}}};
  folder.write("tokenizer_config.json", json{{"chat_template", named}}.dump());
  EXPECT_EQ(kind(), qwen3);
  folder.write("chat_template.jinja", template_of("llama3"));  // wins
  EXPECT_EQ(kind(), llama3);
  for (const ChatTemplateSetting setting : {qwen3, llama3, none}) {
    EXPECT_EQ(ChatTemplate::open(folder.path(), setting).kind(), setting);
  }
}

// A text is known as a whole: a relative that has all that one looks for may render differently.
TEST(ChatTemplate, RefusesWhatItDoesNotKnow) {
  const test::Scratch folder;
  const auto error = [&] {
    return test::error_of<InputError>(
        [&] { ChatTemplate::open(folder.path(), ChatTemplateSetting::automatic); });
  };
  const std::string path = folder.path() + "/chat_template.jinja";
  const std::string possible =
      "data.chat_template: none takes records as plain text; qwen3 or llama3 renders them as "
      "Qwen3's or Llama-3.1's template would, which is right only where the model was trained on "
      "that form";
  const std::string qwen3 = template_of("qwen3"), llama3 = template_of("llama3");
  for (const std::string& text : {std::string("{{ messages }}"), std::string(), qwen3 + " ",
                                  "{#- trained on #}" + qwen3, qwen3 + qwen3, llama3 + "\n"}) {
    folder.write("chat_template.jinja", text);
    EXPECT_EQ(error(), "the chat template (XXH3-128 " + template_hash(text) +
                           ") is not one of those that are rendered here (" + path +
                           "): " + possible);
  }
  folder.write("chat_template.jinja", std::string(2 << 20, 'x'));
  EXPECT_NE(error().find("at most 1048576 are accepted"), std::string::npos) << error();
  std::filesystem::remove(folder.path() + "/chat_template.jinja");
  for (const char* config : {"[", "[]", R"({"chat_template": 3})", R"({"chat_template": []})",
                             R"({"chat_template": [{"name": "default", "template": 3}]})"}) {
    folder.write("tokenizer_config.json", config);
    EXPECT_NE(error().find("tokenizer_config.json"), std::string::npos) << config;
  }
}

TEST(ChatTemplate, IsKnownByItsTextAsJinjaReadsIt) {
  const std::string qwen3 = template_of("qwen3"), llama3 = template_of("llama3");
  ASSERT_NE(known_template(qwen3), nullptr);
  EXPECT_EQ(known_template(qwen3)->name, "Qwen3's");
  // Jinja leaves out one newline at the end, and takes any end of line for a newline.
  EXPECT_EQ(known_template(qwen3 + "\n"), known_template(qwen3));
  EXPECT_EQ(known_template(qwen3 + "\n\n"), nullptr);
  ASSERT_TRUE(llama3.ends_with('\n'));
  EXPECT_EQ(known_template(llama3.substr(0, llama3.size() - 1)), known_template(llama3));
  for (const std::string end : {"\r\n", "\r"}) {
    std::string other;
    for (const char c : qwen3) other += c == '\n' ? end : std::string(1, c);
    EXPECT_EQ(known_template(other), known_template(qwen3));
  }
  // One character is enough to render something else.
  for (const size_t at : {size_t(0), qwen3.size() / 2, qwen3.size() - 1}) {
    std::string other = qwen3;
    other[at] = char(other[at] ^ 1);
    EXPECT_EQ(known_template(other), nullptr) << at;
  }
}

// What a text of the messages is, and what of the template.
TEST(ChatTemplate, MarksTheContents) {
  for (const auto& [family, kind] : kFamilies) {
    const auto chat = ChatTemplate::open("", kind);
    const std::vector<ChatMessage> messages = {{"system", "S"},
                                               {"user", "Q <|im_end|>"},
                                               {"assistant", "<think>why</think>\n\nA"},
                                               {"user", ""}};
    const RenderedChat rendered = chat.render(messages, true);
    std::vector<std::string> contents;
    for (const TextRange& range : rendered.contents) {
      contents.push_back(rendered.text.substr(range.begin, range.end - range.begin));
    }
    const std::string answer = kind == ChatTemplateSetting::qwen3 ? "A" : messages[2].content;
    EXPECT_EQ(contents, (std::vector<std::string>{"S", "Q <|im_end|>", answer}));
  }
}

TEST(ChatTemplate, RefusesWhatIsNoConversation) {
  for (const auto& [family, kind] : kFamilies) {
    const auto chat = ChatTemplate::open("", kind);
    const auto error = [&](const std::vector<ChatMessage>& messages) {
      return test::error_of<InputError>([&] { chat.render(messages, true); });
    };
    EXPECT_NE(error({}).find("a conversation without messages"), std::string::npos);
    EXPECT_NE(error({{"tool", "x"}}).find("role 'tool'"), std::string::npos);
    EXPECT_NE(error({{"user", "x"}, {"User\n", "x"}}).find("role 'User?'"), std::string::npos)
        << error({{"user", "x"}, {"User\n", "x"}});
    EXPECT_NE(chat.render(std::vector<ChatMessage>{{"user", "\xff \x80\xe2"}}, true).text, "");
  }
}

TEST(ChatMessages, WhatIsNotRenderedIsNamed) {
  const auto read = [](const std::string& text) {
    return chat_messages(json::parse(text), "'prompt'", "x:1");
  };
  const auto good = read(
      R"([{"role": "system", "content": ""}, {"role": "user", "content": "u", "name": null},
          {"role": "assistant", "content": "a", "tool_calls": [], "reasoning_content": ""}])");
  ASSERT_EQ(good.size(), 3u);
  EXPECT_EQ(good[2].role, "assistant");
  EXPECT_EQ(good[2].content, "a");
  const std::pair<const char*, const char*> table[] = {
      {R"([{"role": "user", "content": "u", "name": "Ann"}])",
       "a message of 'prompt' has the key 'name', which is not rendered (x:1): take it out"},
      {R"([{"role": "assistant", "content": "a", "reasoning_content": "why"}])",
       "a message of 'prompt' has the key 'reasoning_content', which is not rendered (x:1)"},
      {R"([{"role": "assistant", "content": null, "tool_calls": [{"id": 1}]}])",
       "a message of 'prompt' has the key 'tool_calls', which is not rendered (x:1)"},
      {R"([{"role": "tool", "content": "x"}])", "a message of 'prompt' has the role 'tool' (x:1)"},
      {R"([{"content": "x"}])", "field 'role' is missing in a message of 'prompt' (x:1)"},
      {R"([{"role": "user", "content": [{"type": "text"}]}])",
       "field 'content' of a message of 'prompt' is not a string (x:1)"},
      {R"(["x"])", "a message of 'prompt' is not an object (x:1)"},
      {"[]", "'prompt' is not a list of messages (x:1)"},
      {"{}", "'prompt' is not a list of messages (x:1)"},
  };
  for (const auto& [text, message] : table) {
    EXPECT_TRUE(test::error_of<InputError>([&] { read(text); }).starts_with(message))
        << test::error_of<InputError>([&] { read(text); });
  }
}

}  // namespace
}  // namespace elastron::data
