// Conversations as transformers renders them (tests/oracle/make_chat_fixtures.py), and which
// templates are recognised.
#include "data/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/chat_messages.h"
#include "data/config.h"
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

// The forms, by name.
std::vector<std::pair<std::string, ChatTemplateSetting>> forms() {
  std::vector<std::pair<std::string, ChatTemplateSetting>> all;
  for (const auto& [kind, name] : config::EnumNames<ChatTemplateSetting>::names) {
    if (kind == ChatTemplateSetting::automatic || kind == ChatTemplateSetting::none) continue;
    all.emplace_back(name, kind);
  }
  return all;
}

TEST(ChatTemplate, RendersAsTheReference) {
  for (const auto& [name, kind] : forms()) {
    const auto chat = ChatTemplate::open("", kind);
    std::ifstream file(fixture(name) + "/cases.jsonl");
    int cases = 0;
    for (std::string line; std::getline(file, line); ++cases) {
      const json c = json::parse(line);
      std::vector<ChatMessage> messages;
      for (const json& m : c["messages"]) messages.push_back({m[0], m[1]});
      if (c["text"].is_null()) {
        EXPECT_THROW(chat.render(messages, c["generation_prompt"]), InputError) << name << line;
      } else {
        EXPECT_EQ(chat.render(messages, c["generation_prompt"]).text, c["text"]) << name << line;
      }
    }
    EXPECT_GT(cases, 140) << name;
  }
}

TEST(ChatTemplate, SaysWhichOrderOfRolesItTakes) {
  const auto chat = ChatTemplate::open("", ChatTemplateSetting::mistral_v3);
  const std::vector<ChatMessage> messages = {{"system", "S"}, {"user", "Q"}, {"user", "R"}};
  EXPECT_EQ(
      test::error_of<InputError>([&] { chat.render(messages, true); }),
      "the roles of a conversation do not alternate (chat): this chat template takes a system "
      "message or none, then user and assistant in turn");
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
      "data.chat_template: none takes records as plain text, without turns; the name of a form "
      "(docs/tokenizers.md) is right only where the model was trained on that form";
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
  using enum ChatTemplateSetting;
  const std::vector<ChatMessage> messages = {{"system", "S"},
                                             {"user", "Q <|im_end|>"},
                                             {"assistant", "<think>why</think>\n\nA"},
                                             {"user", ""}};
  const auto contents_of = [&](ChatTemplateSetting kind) {
    const RenderedChat rendered = ChatTemplate::open("", kind).render(messages, true);
    std::vector<std::string> contents;
    for (const TextRange& range : rendered.contents) {
      contents.push_back(rendered.text.substr(range.begin, range.end - range.begin));
    }
    return contents;
  };
  using Contents = std::vector<std::string>;
  const Contents whole = {"S", messages[1].content, messages[2].content};
  EXPECT_EQ(contents_of(qwen3), (Contents{"S", messages[1].content, "A"}));
  EXPECT_EQ(contents_of(qwen3_training), (Contents{"S", messages[1].content, "why", "A"}));
  EXPECT_EQ(contents_of(qwen2_5), whole);
  EXPECT_EQ(contents_of(llama3), whole);
  EXPECT_EQ(contents_of(llama3_0), whole);
  EXPECT_EQ(contents_of(mistral_v3), (Contents{messages[1].content, messages[2].content, "S"}));
  EXPECT_EQ(contents_of(deepseek_r1), (Contents{"S", messages[1].content, "\n\nA"}));
}

TEST(ChatTemplate, RefusesWhatIsNoConversation) {
  for (const auto& [name, kind] : forms()) {
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
